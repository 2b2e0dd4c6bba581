//! `Signature-Input` and `Signature`, read (RFC 9421, 4; RFC 9651).
//!
//! A request may carry signatures for others, with components and parameters that nobody here
//! knows. So what is wrong with one of them is noted beside it and counts only if it is chosen;
//! what is wrong with a whole field counts at once. Structured fields let a later key replace an
//! earlier one; here that would let an addition change what was meant, so it is refused.

use std::borrow::Cow;
use std::convert::Infallible;

use sfv::visitor::{
    DictionaryVisitor, EntryVisitor, Ignored, InnerListVisitor, ItemVisitor, ParameterVisitor,
};
use sfv::{BareItemFromInput, KeyRef, Parser, StringRef};

use super::SignatureError;

/// Longest value of either field, in bytes.
pub(super) const FIELD_BYTES_MAX: usize = 8 * 1024;
/// Most signatures.
pub(super) const SIGNATURES_MAX: usize = 8;
/// Most components that a signature covers.
pub(super) const COMPONENTS_MAX: usize = 32;
/// More parameters than there are known ones; what exceeds it is refused anyway.
const PARAMETERS_MAX: usize = 8;

/// All signatures of a request.
#[derive(Debug)]
pub(super) struct Signatures<'a> {
    /// What each says about itself.
    pub(super) inputs: Vec<Input<'a>>,
    values: Vec<Value<'a>>,
}

/// What a signature says about itself.
#[derive(Debug)]
pub(super) struct Input<'a> {
    label: &'a KeyRef,
    /// Names of the components that it covers, in their order.
    pub(super) components: Vec<Cow<'a, StringRef>>,
    /// Its parameters, in their order.
    pub(super) parameters: Vec<(&'a KeyRef, BareItemFromInput<'a>)>,
    /// Why it cannot count.
    pub(super) flaw: Option<SignatureError>,
}

/// A member of a dictionary of byte sequences.
#[derive(Debug)]
pub(super) struct Value<'a> {
    label: &'a KeyRef,
    bytes: Vec<u8>,
    is_good: bool,
}

impl Value<'_> {
    /// Its name, and its bytes where it is a byte sequence without parameters.
    pub(super) fn parts(&self) -> (&str, Option<&[u8]>) {
        (self.label.as_str(), self.is_good.then_some(&*self.bytes))
    }
}

impl<'a> Signatures<'a> {
    /// The value of a signature.
    ///
    /// # Errors
    /// When it has none, or one that is no byte sequence.
    pub(super) fn value(&self, input: &Input<'a>) -> Result<&Vec<u8>, SignatureError> {
        let value = self.values.iter().find(|value| value.label == input.label);
        let value = value.ok_or(SignatureError::NoValue)?;
        if value.is_good { Ok(&value.bytes) } else { Err(SignatureError::Value) }
    }
}

impl<'a> Input<'a> {
    const fn new(label: &'a KeyRef) -> Self {
        Self { label, components: Vec::new(), parameters: Vec::new(), flaw: None }
    }

    /// A parameter's value.
    pub(super) fn parameter(&self, name: &str) -> Option<&BareItemFromInput<'a>> {
        self.parameters.iter().find(|(key, _)| key.as_str() == name).map(|(_, value)| value)
    }

    /// A parameter that is a string.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        match self.parameter(name)? {
            BareItemFromInput::String(text) => Some(text.as_str()),
            _ => None,
        }
    }

    /// Whether it covers a component.
    pub(super) fn covers(&self, name: &str) -> bool {
        self.components.iter().any(|component| component.as_str() == name)
    }

    /// Notes what is wrong; the first flaw stays.
    fn spoil(&mut self, flaw: SignatureError) {
        self.flaw.get_or_insert(flaw);
    }
}

/// Reads both fields.
///
/// # Errors
/// When a field as a whole cannot be read in one way only.
pub(super) fn read<'a>(
    input: &'a str,
    signature: &'a str,
) -> Result<Signatures<'a>, SignatureError> {
    if input.len() > FIELD_BYTES_MAX || signature.len() > FIELD_BYTES_MAX {
        return Err(SignatureError::TooLong);
    }
    let inputs = Parser::new(input)
        .parse_dictionary_with_visitor(Dictionary::new(Input::new))
        .map_err(|_| SignatureError::Unreadable)??;
    Ok(Signatures { inputs, values: read_values(signature)? })
}

/// Reads a dictionary whose members should be byte sequences.
///
/// # Errors
/// When it cannot be read in one way only.
pub(super) fn read_values(field: &str) -> Result<Vec<Value<'_>>, SignatureError> {
    let new = |label| Value { label, bytes: Vec::new(), is_good: false };
    Parser::new(field)
        .parse_dictionary_with_visitor(Dictionary::new(new))
        .map_err(|_| SignatureError::Unreadable)?
}

/// An entry of a dictionary.
trait Labelled<'de> {
    fn label(&self) -> &'de KeyRef;
}

impl<'de> Labelled<'de> for Input<'de> {
    fn label(&self) -> &'de KeyRef {
        self.label
    }
}

impl<'de> Labelled<'de> for Value<'de> {
    fn label(&self) -> &'de KeyRef {
        self.label
    }
}

/// The entries of a dictionary so far.
struct Dictionary<T, F> {
    entries: Vec<T>,
    new: F,
    refused: Option<SignatureError>,
}

impl<T, F> Dictionary<T, F> {
    const fn new(new: F) -> Self {
        Self { entries: Vec::new(), new, refused: None }
    }
}

impl<'de, T, F> DictionaryVisitor<'de> for Dictionary<T, F>
where
    T: Labelled<'de>,
    F: Fn(&'de KeyRef) -> T,
    for<'e> &'e mut T: EntryVisitor<'de>,
{
    type Out = Result<Vec<T>, SignatureError>;
    // The library keeps only the text of errors, so ours are carried out as a value.
    type Error = Infallible;

    fn entry(&mut self, key: &'de KeyRef) -> Result<impl EntryVisitor<'de>, Infallible> {
        if self.entries.iter().any(|entry| entry.label() == key) {
            self.refused.get_or_insert(SignatureError::LabelRepeated);
        } else if self.entries.len() == SIGNATURES_MAX {
            self.refused.get_or_insert(SignatureError::TooMany);
        }
        if self.refused.is_some() {
            return Ok(None);
        }
        self.entries.push((self.new)(key));
        Ok(self.entries.last_mut())
    }

    fn finish(self) -> Result<Self::Out, Infallible> {
        Ok(self.refused.map_or(Ok(self.entries), Err))
    }
}

impl<'de> EntryVisitor<'de> for &mut Input<'de> {
    type Error = Infallible;

    fn item(self) -> Result<impl ItemVisitor<'de>, Infallible> {
        self.spoil(SignatureError::NotAList);
        Ok(Ignored)
    }

    fn inner_list(self) -> Result<impl InnerListVisitor<'de>, Infallible> {
        Ok(self)
    }
}

impl<'de> InnerListVisitor<'de> for &mut Input<'de> {
    type Error = Infallible;

    fn item(&mut self) -> Result<impl ItemVisitor<'de>, Infallible> {
        Ok(Component(self))
    }

    fn finish(self) -> Result<impl ParameterVisitor<'de>, Infallible> {
        Ok(self)
    }
}

impl<'de> ParameterVisitor<'de> for &mut Input<'de> {
    type Out = ();
    type Error = Infallible;

    fn parameter(
        &mut self,
        key: &'de KeyRef,
        value: BareItemFromInput<'de>,
    ) -> Result<(), Infallible> {
        let is_repeated = self.parameters.iter().any(|(known, _)| *known == key);
        if is_repeated || self.parameters.len() == PARAMETERS_MAX {
            self.spoil(SignatureError::Parameter);
        } else {
            self.parameters.push((key, value));
        }
        Ok(())
    }

    fn finish(self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// A component that is being read.
struct Component<'e, 'de>(&'e mut Input<'de>);

impl<'de> ItemVisitor<'de> for Component<'_, 'de> {
    type Out = ();
    type Error = Infallible;

    fn bare_item(
        self,
        item: BareItemFromInput<'de>,
    ) -> Result<impl ParameterVisitor<'de, Out = ()>, Infallible> {
        let input = &mut *self.0;
        match item {
            BareItemFromInput::String(name) if input.components.contains(&name) => {
                input.spoil(SignatureError::ComponentRepeated);
            }
            BareItemFromInput::String(_) if input.components.len() == COMPONENTS_MAX => {
                input.spoil(SignatureError::ComponentCount);
            }
            BareItemFromInput::String(name) => input.components.push(name),
            _ => input.spoil(SignatureError::ComponentUnknown),
        }
        Ok(self)
    }
}

impl<'de> ParameterVisitor<'de> for Component<'_, 'de> {
    type Out = ();
    type Error = Infallible;

    fn parameter(&mut self, _: &'de KeyRef, _: BareItemFromInput<'de>) -> Result<(), Infallible> {
        self.0.spoil(SignatureError::ComponentParameter);
        Ok(())
    }

    fn finish(self) -> Result<(), Infallible> {
        Ok(())
    }
}

impl<'de> EntryVisitor<'de> for &mut Value<'de> {
    type Error = Infallible;

    fn item(self) -> Result<impl ItemVisitor<'de>, Infallible> {
        Ok(self)
    }

    fn inner_list(self) -> Result<impl InnerListVisitor<'de>, Infallible> {
        Ok(Ignored)
    }
}

impl<'de> ItemVisitor<'de> for &mut Value<'de> {
    type Out = ();
    type Error = Infallible;

    fn bare_item(
        self,
        item: BareItemFromInput<'de>,
    ) -> Result<impl ParameterVisitor<'de, Out = ()>, Infallible> {
        if let BareItemFromInput::ByteSequence(bytes) = item {
            self.bytes = bytes;
            self.is_good = true;
        }
        Ok(self)
    }
}

impl<'de> ParameterVisitor<'de> for &mut Value<'de> {
    type Out = ();
    type Error = Infallible;

    fn parameter(&mut self, _: &'de KeyRef, _: BareItemFromInput<'de>) -> Result<(), Infallible> {
        self.is_good = false;
        Ok(())
    }

    fn finish(self) -> Result<(), Infallible> {
        Ok(())
    }
}
