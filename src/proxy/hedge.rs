//! A second attempt while the first has not answered.
//!
//! Pingora gives a request one exchange with a service. Where a route hedges, the request's
//! exchange is therefore run by subrequests of Pingora's, called legs: the first at once, the
//! second, to another endpoint, when the first is late. A leg goes through the same phases as
//! any request, but it takes what was decided about its request from it: no leg is routed,
//! authenticated, limited, logged or counted as a request. The leg whose answer begins first is
//! passed on; the other is dropped, and with it its connection.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, header};
use parking_lot::Mutex;
use pingora::protocols::http::HttpTask;
use pingora::{Error, ErrorSource, ErrorType, Result};
use pingora_proxy::Session;
use pingora_proxy::subrequest::Ctx as SubrequestCtx;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::own::Facts;
use super::{RequestCtx, costs, own, reply};
use crate::clock::{self, Tick};
use crate::fault::{Fault, Reject};
use crate::live::Live;
use crate::telemetry::Phase;
use crate::upstream::Endpoint;

/// One of the two exchanges of a request.
pub(super) struct Leg {
    facts: Arc<Facts>,
    /// The first leg, where this is the second.
    first: Option<Arc<Self>>,
    /// When it was begun.
    began: Tick,
    /// Only requests of routes that hedge meet this lock, and only the two legs of one.
    told: Mutex<Told>,
}

/// What a leg tells its request.
#[derive(Default)]
struct Told {
    attempts: u32,
    endpoint: Option<Arc<Endpoint>>,
    answered_after: Option<Duration>,
    retry_reason: Option<&'static str>,
    refusal: Option<Reject>,
}

impl Leg {
    /// Gives the leg what is known of its request.
    pub(super) fn begin(self: &Arc<Self>, ctx: &mut RequestCtx) {
        self.facts.give(ctx);
        ctx.leg = Some(Arc::clone(self));
    }

    /// Whether it is the one that was begun because the other was late.
    pub(super) const fn is_second(&self) -> bool {
        self.first.is_some()
    }

    /// The endpoint that the other leg tries, for the second.
    pub(super) fn others(&self) -> Option<Arc<Endpoint>> {
        self.first.as_ref()?.told.lock().endpoint.clone()
    }

    /// Notes how far the leg has come.
    pub(super) fn tell(&self, ctx: &RequestCtx) {
        let mut told = self.told.lock();
        told.attempts = ctx.attempts;
        told.endpoint = ctx.endpoint.as_ref().map(|attempt| Arc::clone(attempt.endpoint()));
        told.answered_after = ctx.answered_after;
        told.retry_reason = ctx.retry_reason;
        told.refusal.clone_from(&ctx.refusal);
    }
}

/// Whether a request is hedged: it asks for nothing but an answer, and there is a choice.
pub(super) fn applies(session: &mut Session, ctx: &RequestCtx) -> bool {
    if ctx.route.as_ref().is_none_or(|route| route.hedge.is_none()) {
        return false;
    }
    let empty = session.as_downstream_mut().is_body_empty();
    let header = session.req_header();
    let asks = matches!(header.method, Method::GET | Method::HEAD | Method::OPTIONS);
    asks && empty
        && !header.headers.contains_key(header::UPGRADE)
        && ctx.version().is_some_and(|version| version.pool.current().endpoints.len() > 1)
}

/// Serves an admitted request by legs. Keeps the refusal in the context where neither answers.
///
/// # Errors
/// When the client has gone, or the answer breaks off that was being passed on.
pub(super) async fn serve(live: &Live, session: &mut Session, ctx: &mut RequestCtx) -> Result<()> {
    ctx.ledger.enter(Phase::Service, clock::now().tick);
    let mut race = Race::begin(session, ctx)?;
    let outcome = race.run(live, session, ctx).await;
    race.settle(ctx);
    match outcome {
        Ok(()) if race.won.is_some() => race.finish(),
        Ok(()) => {
            let refusal = race.first.leg.told.lock().refusal.clone();
            ctx.refusal = Some(refusal.unwrap_or_else(|| Fault::Internal.into()));
        }
        Err(error) => {
            if *error.esource() == ErrorSource::Upstream {
                ctx.refusal = race.winner().and_then(|won| won.leg.told.lock().refusal.clone());
            }
            return Err(error);
        }
    }
    Ok(())
}

/// A leg that runs.
struct Running {
    leg: Arc<Leg>,
    tasks: mpsc::Receiver<HttpTask>,
    /// Held, because Pingora takes its end for a client that has gone.
    _input: mpsc::Sender<HttpTask>,
    job: JoinHandle<()>,
    /// Whether it may yet answer.
    open: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.job.abort();
    }
}

/// The legs of one request.
struct Race {
    facts: Arc<Facts>,
    first: Running,
    second: Option<Running>,
    /// The one that answered first.
    won: Option<Winner>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Winner {
    First,
    Second,
}

impl Race {
    fn begin(session: &mut Session, ctx: &RequestCtx) -> Result<Self> {
        let facts = Arc::new(Facts::of(ctx));
        let first = start(session, &facts, None)?;
        Ok(Self { facts, first, second: None, won: None })
    }

    async fn run(
        &mut self,
        live: &Live,
        session: &mut Session,
        ctx: &mut RequestCtx,
    ) -> Result<()> {
        let Some(header) = self.first_answer(session, ctx).await? else {
            return Ok(());
        };
        self.pass_on(header, live, session, ctx).await
    }

    /// The header of the answer that comes first; none where both legs have failed.
    async fn first_answer(
        &mut self,
        session: &mut Session,
        ctx: &mut RequestCtx,
    ) -> Result<Option<HttpTask>> {
        let delay = delay(ctx);
        let late = tokio::time::sleep(delay.unwrap_or_default());
        tokio::pin!(late);
        let mut waiting = delay.is_some();
        loop {
            let second = self.second.as_mut().filter(|second| second.open);
            let second_open = second.is_some();
            let other = async {
                match second {
                    Some(second) => second.tasks.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                task = self.first.tasks.recv(), if self.first.open => match task {
                    Some(task) if is_interim(&task) => {}
                    Some(task) => {
                        self.won = Some(Winner::First);
                        return Ok(Some(task));
                    }
                    None => self.first.open = false,
                },
                task = other, if second_open => match task {
                    Some(task) if is_interim(&task) => {}
                    Some(task) => {
                        self.won = Some(Winner::Second);
                        return Ok(Some(task));
                    }
                    None => if let Some(second) = &mut self.second {
                        second.open = false;
                    },
                },
                gone = session.downstream_session.read_body_or_idle(true) => {
                    gone.map_err(Error::into_down)?;
                }
                () = &mut late, if waiting => {
                    waiting = false;
                    self.hedge(session, ctx)?;
                }
            }
            if !self.first.open && self.second.as_ref().is_none_or(|second| !second.open) {
                return Ok(None);
            }
        }
    }

    /// Begins the second leg, where the service's budget has room for it.
    fn hedge(&mut self, session: &mut Session, ctx: &mut RequestCtx) -> Result<()> {
        let Some(route) = &ctx.route else { return Ok(()) };
        let budget = ctx.version().map(|version| &version.pool.service().budget);
        if !budget.is_some_and(|budget| budget.try_retry(clock::now())) {
            route.meters.retry_refused();
            return Ok(());
        }
        let first = Arc::clone(&self.first.leg);
        self.second = Some(start(session, &self.facts, Some(first))?);
        ctx.hedged = true;
        Ok(())
    }

    /// Passes the answer of the leg that won to the client, and drops the other leg.
    async fn pass_on(
        &mut self,
        mut task: HttpTask,
        live: &Live,
        session: &mut Session,
        ctx: &mut RequestCtx,
    ) -> Result<()> {
        self.drop_loser(ctx);
        let Some(winner) = self.winner() else { return Ok(()) };
        if let HttpTask::Header(header, _) = &mut task {
            let now = clock::now();
            ctx.ledger.enter(Phase::Body, now.tick);
            costs::settle(live, ctx, &header.headers, now);
            reply::decorate(live, session, header, ctx);
        }
        loop {
            if let HttpTask::Failed(error) = task {
                return Err(error.into_up());
            }
            let written = session.write_response_tasks(vec![task]).await;
            if written.map_err(Error::into_down)? {
                return Ok(());
            }
            task = tokio::select! {
                biased;
                next = winner.tasks.recv() => match next {
                    Some(next) => next,
                    None => return Err(Error::new_up(ErrorType::ConnectionClosed)),
                },
                gone = session.downstream_session.read_body_or_idle(true) => {
                    gone.map_err(Error::into_down)?;
                    return Err(Error::new_down(ErrorType::ConnectionClosed));
                }
            };
        }
    }

    fn winner(&mut self) -> Option<&mut Running> {
        match self.won? {
            Winner::First => Some(&mut self.first),
            Winner::Second => self.second.as_mut(),
        }
    }

    /// Ends the leg that is not passed on. That it has not answered by now is known of the
    /// service too: without it, slow answers would be missing from what is usual.
    fn drop_loser(&self, ctx: &RequestCtx) {
        let loser = match self.won {
            Some(Winner::First) => self.second.as_ref(),
            Some(Winner::Second) => Some(&self.first),
            None => None,
        };
        let Some(loser) = loser.filter(|loser| loser.open) else { return };
        loser.job.abort();
        if let Some(version) = ctx.version() {
            let waited = clock::now().tick.since(loser.leg.began);
            version.pool.service().latency.record(waited);
        }
    }

    /// Takes over what the legs have told.
    fn settle(&self, ctx: &mut RequestCtx) {
        let first = self.first.leg.told.lock();
        let second = self.second.as_ref().map(|second| second.leg.told.lock());
        let won = if self.won == Some(Winner::Second) { second.as_ref() } else { None };
        let chosen = won.unwrap_or(&first);
        ctx.attempts = first.attempts + second.as_ref().map_or(0, |second| second.attempts);
        ctx.served_by.clone_from(&chosen.endpoint);
        ctx.answered_after = chosen.answered_after;
        ctx.retry_reason = chosen.retry_reason;
        if let (Some(route), Some(_)) = (&ctx.route, &self.second) {
            route.meters.hedged(match self.won {
                Some(Winner::First) => "first",
                Some(Winner::Second) => "second",
                None => "none",
            });
        }
    }

    /// Lets the leg that won end by itself: it has yet to give its connection back.
    fn finish(self) {
        let Self { first, second, won, .. } = self;
        let winner = if won == Some(Winner::Second) { second } else { Some(first) };
        let Some(mut winner) = winner else { return };
        tokio::spawn(async move {
            // Ends when the leg has ended and with it the channel.
            while winner.tasks.recv().await.is_some() {}
        });
    }
}

/// How long the first leg is waited for; none where it is waited for to the end.
fn delay(ctx: &RequestCtx) -> Option<Duration> {
    let policy = ctx.route.as_ref()?.hedge?;
    let latency = &ctx.version()?.pool.service().latency;
    policy.delay(latency.percentile(policy.percentile))
}

/// Begins a leg.
fn start(session: &mut Session, facts: &Arc<Facts>, first: Option<Arc<Leg>>) -> Result<Running> {
    let began = clock::now().tick;
    let leg = Arc::new(Leg { facts: Arc::clone(facts), first, began, told: Mutex::default() });
    let user_ctx = Box::new(Arc::clone(&leg));
    let sub = SubrequestCtx::builder().user_ctx(user_ctx).build();
    let Some((prepared, handle)) = own::create(session, sub) else {
        return Err(Error::new_in(ErrorType::InternalError));
    };
    let job = tokio::spawn(prepared.run());
    Ok(Running { leg, tasks: handle.rx, _input: handle.tx, job, open: true })
}

/// Whether a task is not yet the answer. Interim answers of a leg are not passed on: the other
/// leg may win.
fn is_interim(task: &HttpTask) -> bool {
    matches!(task, HttpTask::Header(header, _) if header.status.is_informational())
}
