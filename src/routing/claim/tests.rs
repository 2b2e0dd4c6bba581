use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::edge::IdentityFacts;
use crate::model::{FieldMatch, Problems};

fn demand(test: &str) -> Demand {
    let (kind, value) = test.split_once(':').unwrap();
    let given = |wanted| (kind == wanted).then(|| value.to_owned());
    let model = FieldMatch {
        name: "n".to_owned(),
        exact: given("exact"),
        contains: given("contains"),
        present: (kind == "present").then(|| value == "true"),
        regex: given("regex"),
        trusted_only: false,
    };
    Demand::compile(&model, "p", &mut Problems::default()).unwrap()
}

fn caller() -> Identity {
    let claims = json!({
        "text": "one,two", "number": 7, "fraction": 1.5, "yes": true, "no": false, "null": null,
        "list": ["a", 7, true, "b,c"], "empty": [], "object": {"a": 1}, "plan": "raw",
        "nested.key": "flat"
    });
    let serde_json::Value::Object(claims) = claims else { panic!("an object") };
    Identity::prove(IdentityFacts {
        subject: "alice".into(),
        tenant_id: Some("acme".into()),
        plan: Some("enterprise".into()),
        roles: vec![Arc::from("admin"), Arc::from("clerk")],
        claims: claims.into(),
        ..IdentityFacts::default()
    })
}

fn meets(name: &str, test: &str) -> bool {
    Claim::read(name).unwrap().meets(&demand(test), &caller())
}

#[test]
fn texts_numbers_and_truths_are_compared_as_text() {
    for (name, value) in [
        ("text", "one,two"),
        ("number", "7"),
        ("fraction", "1.5"),
        ("yes", "true"),
        ("no", "false"),
        ("nested.key", "flat"),
        ("claim:text", "one,two"),
    ] {
        assert!(meets(name, &format!("exact:{value}")), "{name}");
        assert!(meets(name, "present:true") && !meets(name, "present:false"), "{name}");
        assert!(!meets(name, &format!("exact:{value}x")), "{name}");
    }
    assert!(meets("text", "contains:two") && !meets("text", "contains:tw"));
    assert!(meets("number", "regex:[0-9]") && !meets("number", "regex:[a-z]"));
}

#[test]
fn what_is_not_there_is_not_there() {
    for name in ["null", "other", "email", "scopes", "nested"] {
        assert!(meets(name, "present:false"), "{name}");
        for test in ["present:true", "exact:", "exact:null", "contains:a", "regex:.*"] {
            assert!(!meets(name, test), "{name} {test}");
        }
    }
}

#[test]
fn lists_hold_whole_elements() {
    for item in ["a", "7", "true"] {
        assert!(meets("list", &format!("contains:{item}")), "{item}");
    }
    for item in ["b", "c", "x", "false"] {
        assert!(!meets("list", &format!("contains:{item}")), "{item}");
    }
    for name in ["list", "empty", "object"] {
        assert!(meets(name, "present:true"), "{name}");
        assert!(!meets(name, "exact:a") && !meets(name, "regex:.*"), "{name}");
    }
    assert!(meets("roles", "contains:admin") && !meets("roles", "contains:adm"));
    assert!(!meets("roles", "exact:admin") && meets("roles", "present:true"));
}

#[test]
fn facts_go_before_claims_of_their_name() {
    assert!(meets("plan", "exact:enterprise") && meets("claim:plan", "exact:raw"));
    assert!(meets("subject", "exact:alice") && meets("tenantId", "exact:acme"));
    assert!(meets("claim:subject", "present:false"));
    for name in ["plan", "claim:plan", "other"] {
        assert_eq!(Claim::read(name).unwrap().to_string(), name);
    }
    assert_eq!(Claim::read("claim:other"), Claim::read("other"));
    assert_eq!((Claim::read(""), Claim::read("claim:")), (None, None));
}
