//! Plays a case.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use parking_lot::Mutex;
use tidegate_kit::{
    Context, Error, Gateway, Issuer, RawConnection, Request, Response, Result, wait,
};

use crate::check::{self, Wrong, describe};
use crate::invariants;
use crate::origin::{Script, ScriptedOrigin, Seen};
use crate::table::{Case, Got, Manner, Says, Step};
use crate::values::Values;

/// Everything that cases need.
pub(crate) struct Stage {
    gateway: SocketAddr,
    origin: ScriptedOrigin,
    issuer: Issuer,
}

/// How long after an answer the service has been asked, if it is asked at all.
const SPARED: Duration = Duration::from_secs(5);

/// The host that cases ask, where they do not say another.
const HOST: &str = "cache.test";

impl Stage {
    pub(crate) fn new(gateway: &Gateway, origin: ScriptedOrigin, issuer: Issuer) -> Self {
        Self { gateway: gateway.address(), origin, issuer }
    }

    /// Plays a case to its end or to its first step that goes wrong, whose report is the error.
    pub(crate) async fn play(&self, number: usize, case: &Case) -> Result<()> {
        let values = Values::new(format!("/{}/{number}", case.route), HOST.to_owned());
        for (index, step) in case.steps.iter().enumerate() {
            let (response, seen) = self.step(number, case, index, &values).await;
            let mut wrong = Wrong::default();
            check::service(step, &seen, &values, &mut wrong);
            match &response {
                Ok(response) => {
                    let body = said(case, step.got.step, &values);
                    check::client(step, response, body.as_deref(), &values, &mut wrong);
                    invariants::check(response, &mut wrong);
                }
                Err(error) if !step.got.statuses.is_empty() => {
                    wrong.note(format!("no answer: {error}"));
                }
                Err(_) => {}
            }
            if !wrong.is_empty() {
                return Err(report(case, index, &wrong, response.as_ref(), &seen));
            }
        }
        let stray = self.origin.take(number);
        if stray.is_empty() {
            return Ok(());
        }
        let mut wrong = Wrong::default();
        wrong.note("the service was asked after the last answer".to_owned());
        let none = Err(Error::new("the case is over"));
        Err(report(case, case.steps.len() - 1, &wrong, none.as_ref(), &stray))
    }

    /// Plays a step: what the client got, and what the service saw.
    async fn step(
        &self,
        number: usize,
        case: &Case,
        index: usize,
        values: &Values,
    ) -> (Result<Response>, Vec<Seen>) {
        let step = &case.steps[index];
        tokio::time::sleep(Duration::from_millis(step.wait_ms)).await;
        let script = step.says.as_ref().map(|says| script(says, index, values));
        self.origin.script(number, script);
        let response = if step.until {
            self.until(step, said(case, step.got.step, values).unwrap_or_default(), values).await
        } else {
            self.send(step, values).await
        };
        if step.says.as_ref().is_some_and(|says| says.later)
            && let Err(error) = self.asked_later(number, step, values).await
        {
            return (Err(error), Vec::new());
        }
        (response, self.origin.take(number))
    }

    /// Waits for the service to be asked behind the client's back. The renewal of the step before
    /// may not have ended when this step began, whose own is not begun then: the next one's is.
    async fn asked_later(&self, number: usize, step: &Step, values: &Values) -> Result<()> {
        if let Ok(asked) = tokio::time::timeout(SPARED, self.origin.asked(number)).await {
            return asked;
        }
        self.send(step, values).await?;
        self.origin.asked(number).await
    }

    /// Asks until the body is this one, and came as the step wants.
    async fn until(&self, step: &Step, body: Vec<u8>, values: &Values) -> Result<Response> {
        let last = Mutex::new(None);
        let found = wait::until("another body", async || {
            let response = self.send(step, values).await;
            let good = response
                .as_ref()
                .is_ok_and(|response| response.body == body && check::has_word(step, response));
            *last.lock() = Some(response);
            good.then_some(())
        });
        // The last answer tells more than the end of patience.
        let _ = found.await;
        last.into_inner().unwrap_or_else(|| Err(Error::new("nothing was asked")))
    }

    async fn send(&self, step: &Step, values: &Values) -> Result<Response> {
        let target = if step.target == "*" {
            "*".to_owned()
        } else {
            values.path.clone() + &values.fill(&step.target)
        };
        let mut request = Request::new(&step.method, &target);
        let block = &step.request;
        if !block.fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            request = request.host(HOST);
        }
        for (name, value) in &block.fields {
            request = request.header(name, &values.fill(value));
        }
        if let Some(body) = &block.body {
            request = request.body(values.fill(body));
        }
        let mut from = IpAddr::from([127, 0, 0, 1]);
        for (word, rest) in &block.marks {
            match word.as_str() {
                "from" => from = rest.parse().context(rest)?,
                "as" => request = request.bearer(&self.token(rest)?),
                _ => return Err(Error::new(format!("what is @{word}?"))),
            }
        }
        RawConnection::connect_from(from, self.gateway).await?.request(&request).await
    }

    /// A token of `USER@TENANT SCOPES`.
    fn token(&self, who: &str) -> Result<String> {
        let (who, scopes) = who.split_once(' ').unwrap_or((who, ""));
        let (user, tenant) = who.split_once('@').unwrap_or((who, ""));
        let mut token = self.issuer.token().subject(user);
        if !tenant.is_empty() {
            token = token.tenant(tenant);
        }
        if !scopes.is_empty() {
            token = token.scopes(scopes);
        }
        token.sign()
    }
}

fn script(says: &Says, index: usize, values: &Values) -> Script {
    let fields = says.block.fields.iter();
    Script {
        manner: says.manner,
        status: says.status,
        fields: fields.map(|(name, value)| (name.clone(), values.fill(value))).collect(),
        without: says.block.without.clone(),
        body: body(says, index, values),
    }
}

/// The body that the service says in a step: its own, or one that no other step has.
fn body(says: &Says, index: usize, values: &Values) -> Vec<u8> {
    match &says.block.body {
        Some(body) => values.fill(body).into_bytes(),
        None => format!("the body of step {}", index + 1).into_bytes(),
    }
}

/// The body that the service said in a step, counted from 1.
fn said(case: &Case, step: Option<usize>, values: &Values) -> Option<Vec<u8>> {
    let index = step?.checked_sub(1)?;
    let says = case.steps.get(index)?.says.as_ref()?;
    Some(body(says, index, values))
}

/// What the step was to show, and what it did.
fn report(
    case: &Case,
    index: usize,
    wrong: &Wrong,
    response: std::result::Result<&Response, &Error>,
    seen: &[Seen],
) -> Error {
    let step = &case.steps[index];
    let mut text = format!(
        "{} [{}] ({}.case:{})\n  step {}: {} {} on `{}`{}\n",
        case.title(),
        case.rfc,
        case.subject,
        case.line,
        index + 1,
        step.method,
        step.target,
        case.route,
        expected(&step.got, step.says.as_ref()),
    );
    for line in wrong.lines() {
        text += &format!("    wrong: {line}\n");
    }
    let got = match response {
        Ok(response) => response.to_string(),
        Err(error) => error.to_string(),
    };
    text += &indent("the client got", &got);
    if seen.is_empty() {
        text += "    the service was not asked\n";
    }
    for seen in seen {
        text += &indent("the service saw", &describe(seen));
    }
    Error::new(text)
}

fn expected(got: &Got, says: Option<&Says>) -> String {
    let statuses: Vec<String> = got.statuses.iter().map(u16::to_string).collect();
    let status = if statuses.is_empty() { "cut".to_owned() } else { statuses.join(" or ") };
    let word = got.word.as_deref().map_or(String::new(), |word| format!(" {word}"));
    let from = got.step.map_or(String::new(), |step| format!(", body of step {step}"));
    let service = match says {
        None => "the service not asked".to_owned(),
        Some(says) if says.optional => "the service asked or not".to_owned(),
        Some(says) if says.later => "the service asked meanwhile".to_owned(),
        Some(says) => match says.manner {
            Manner::Whole => format!("the service says {}", says.status),
            Manner::Cut => "the service breaks off".to_owned(),
            Manner::Die => "the service dies".to_owned(),
            Manner::Hang => "the service never answers".to_owned(),
        },
    };
    format!(", expected: {status}{word}{from}; {service}")
}

/// A text below its name, at most so many lines of it.
fn indent(name: &str, text: &str) -> String {
    const LINES_MAX: usize = 24;
    let lines = text.lines().filter(|line| !line.is_empty()).take(LINES_MAX);
    lines.fold(format!("    {name}:\n"), |all, line| {
        let line: String = line.chars().take(200).collect();
        all + "      " + &line + "\n"
    })
}
