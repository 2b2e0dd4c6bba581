//! Getting rid of entries: by tag, on every node (R148 to R150, T14).
//!
//! A purge names tags. It is in force on the node that made it at once ([`Purges::order`]), and on
//! all others within a second: Redis numbers it and keeps it in a log, which every node reads when
//! it is told of news, and every second besides. So no lost message keeps an entry alive, and a
//! node that was away catches up. Entries are not looked for; they are judged when they are used
//! ([`Purges::judge`], `table`).
//!
//! What cannot be known is taken the safe way: where purges may have been lost, every entry from
//! before must be confirmed by its service ([`Verdict::Confirm`]).

mod answer;
mod desk;
mod fleet;
mod meters;
mod order;
mod queue;
mod table;
mod tag;
mod template;
mod upkeep;
mod written;

pub use answer::{STRIPPED, invalidated_by, is_safe, tags_of};
pub use desk::{By, Made, PurgeReport, Purges, Told};
pub use order::{Order, Tagged};
pub use table::Verdict;
pub use tag::{Tag, Target, Url};
pub use template::TagTemplates;
pub use written::{prefix_tag, url_tags};
