//! The routes without sockets, held against the document.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::{Request, header};
use serde_json::json;

use super::*;
use crate::clock::Clock;
use crate::config::{OriginPolicy, TicketSettings};
use crate::directory::Embedded;
use crate::game::Registry;
use crate::hub::Hub;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::ticket::{Claims, KeyHint, Signer, TicketId, TicketPolicy, Verifier, generate_key};

const TOKEN: &str = "9f86d081884c7d659a2feaa0c55ad015";

/// Signs with one key, and may be told to have none.
struct Keys {
    signer: Option<Signer>,
    broken: bool,
}

impl Keyring for Keys {
    fn mint(
        &self,
        player: &str,
        more: Map<String, Value>,
        lifetime: Duration,
        now: UnixSeconds,
    ) -> Result<Minted, MintRefusal> {
        let claims = Claims {
            issuer: "muster".into(),
            audience: "muster".into(),
            player: player.into(),
            ticket_id: TicketId::from_random(7),
            issued_at: now,
            expires_at: now.plus(lifetime),
            more,
        };
        let signer = self.signer.as_ref().ok_or(MintRefusal::NoKey)?;
        let ticket = signer.mint(&claims).map_err(|_| MintRefusal::Failed)?;
        Ok(Minted { ticket, jti: claims.ticket_id.to_string(), expires_at: claims.expires_at })
    }

    fn reload(&self) -> Result<Vec<(KeyId, Algorithm)>, String> {
        let key = |signer: &Signer| (signer.key().id().clone(), signer.key().algorithm());
        if self.broken { Err("keys.json: not a key".into()) } else { Ok(self.signer.iter().map(key).collect()) }
    }

    fn longest_lifetime(&self) -> Duration {
        Duration::from_secs(120)
    }

    fn longest_use(&self) -> Duration {
        Duration::from_secs(130)
    }
}

fn api(keys: impl Fn(Signer) -> Keys) -> (Router, Admission) {
    crate::ticket::install_crypto();
    let key = generate_key(Algorithm::EdDsa).unwrap();
    let signer = Signer::from_text(&key.private, &KeyHint::default()).unwrap();
    let verifier = Verifier::new(signer.ring().unwrap(), TicketPolicy::default());
    let (limits, metrics, clock) = (Limits::default(), Arc::new(Metrics::new()), Clock::start());
    let hub = Hub::new(limits, Duration::from_secs(10), Registry::built_in(), metrics, clock, [7; 32]);
    let directory = Arc::new(Embedded::new(100));
    let admission = Admission::new(hub, verifier, directory, &TicketSettings::default(), OriginPolicy::Dev);
    let token = AdminToken::new(TOKEN).unwrap();
    (admin_router(token, admission.clone(), Arc::new(keys(signer))), admission)
}

fn signing(signer: Signer) -> Keys {
    Keys { signer: Some(signer), broken: false }
}

fn request(method: &str, path: &str, body: &str) -> Request<Body> {
    let request = Request::builder().method(method.to_ascii_uppercase().as_str()).uri(path);
    let request = request.header(header::AUTHORIZATION, format!("Bearer {TOKEN}"));
    request.header(header::CONTENT_TYPE, "application/json").body(Body::from(body.to_owned())).unwrap()
}

async fn send(router: &Router, request: Request<Body>) -> (u16, axum::http::HeaderMap, Value) {
    use http_body_util::BodyExt as _;
    use hyper::service::Service as _;
    let service = hyper_util::service::TowerToHyperService::new(router.clone());
    let response = service.call(request).await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, headers, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
}

async fn ask(router: &Router, method: &str, path: &str, body: Value) -> (u16, Value) {
    let (status, _, answer) = send(router, request(method, path, &body.to_string())).await;
    (status, answer)
}

fn document() -> Value {
    serde_json::from_str(document::DOCUMENT).unwrap()
}

/// Every operation of the document: path, method and what is said of it.
fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let each = document["paths"].as_object().unwrap().iter().flat_map(|(path, methods)| {
        methods.as_object().unwrap().iter().map(|(method, told)| (path.clone(), method.clone(), told.clone()))
    });
    each.collect()
}

/// Whether a value is what a schema says: types, members, the words there are. Enough for this document.
fn fits(document: &Value, schema: &Value, value: &Value) -> bool {
    if let Some(name) = schema["$ref"].as_str() {
        return fits(document, document.pointer(name.trim_start_matches('#')).expect(name), value);
    }
    if let Some(several) =
        schema["oneOf"].as_array().filter(|several| several.iter().all(|one| one["$ref"].is_string()))
    {
        return several.iter().filter(|one| fits(document, one, value)).count() == 1;
    }
    let is = |kind: &str| match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("{other}"),
    };
    let kind = match &schema["type"] {
        Value::String(kind) => is(kind),
        Value::Array(kinds) => kinds.iter().any(|kind| is(kind.as_str().unwrap())),
        _ => true,
    };
    let word = schema["enum"].as_array().is_none_or(|words| words.contains(value));
    let constant = schema.get("const").is_none_or(|only| only == value);
    let required = schema["required"]
        .as_array()
        .is_none_or(|names| names.iter().all(|name| value.get(name.as_str().unwrap()).is_some()));
    let members = value.as_object().is_none_or(|members| {
        let Some(known) = schema["properties"].as_object() else { return true };
        members.iter().all(|(name, value)| known.get(name).is_some_and(|schema| fits(document, schema, value)))
    });
    let items = value.as_array().is_none_or(|items| items.iter().all(|item| fits(document, &schema["items"], item)));
    kind && word && constant && required && members && items
}

#[tokio::test]
async fn the_document_has_every_route_and_no_other() {
    let document = document();
    let written: BTreeSet<(String, String)> =
        operations(&document).into_iter().map(|(path, method, _)| (path, method)).collect();
    let served: BTreeSet<(String, String)> = routes()
        .iter()
        .flat_map(|(path, methods, _)| methods.iter().map(|method| ((*path).to_owned(), (*method).to_owned())))
        .collect();
    assert_eq!(written, served);
    let (router, _) = api(signing);
    for (path, ..) in routes() {
        let path_sent = path.replace("{jti}", "t").replace("{id}", "ada");
        for method in ["get", "post", "put", "patch", "delete", "options", "trace"] {
            let (status, _) = ask(&router, method, &path_sent, json!({})).await;
            let listed = served.contains(&(path.to_owned(), method.to_owned()));
            assert_eq!(status != 405, listed, "{method} {path}: {status}");
        }
    }
    assert_eq!(document["openapi"], "3.1.0");
    let (_, served) = ask(&router, "get", "/openapi.json", json!({})).await;
    assert_eq!(served, document);
}

#[tokio::test]
async fn every_operation_answers_as_it_is_documented() {
    let document = document();
    let (router, _) = api(signing);
    // Method, path as it is sent, path as it is documented, body, status.
    let asked = [
        ("post", "/v1/tickets", "/v1/tickets", json!({ "sub": "ada" }), 201),
        ("post", "/v1/tickets", "/v1/tickets", json!({ "sub": "" }), 400),
        ("post", "/v1/tickets", "/v1/tickets", json!({ "sub": "a", "claims": { "x": "y".repeat(70_000) } }), 413),
        ("delete", "/v1/tickets/t1", "/v1/tickets/{jti}", json!({}), 200),
        ("delete", "/v1/tickets/t1?until=1", "/v1/tickets/{jti}", json!({}), 400),
        ("delete", "/v1/tickets/t1?for=1", "/v1/tickets/{jti}", json!({}), 400),
        ("post", "/v1/revocations", "/v1/revocations", json!({ "player": "ada" }), 200),
        ("post", "/v1/revocations", "/v1/revocations", json!({ "all": true, "issued_before": 5 }), 200),
        ("post", "/v1/revocations", "/v1/revocations", json!({ "player": "ada", "jti": "t" }), 400),
        ("get", "/v1/revocations", "/v1/revocations", json!({}), 200),
        ("get", "/v1/revocations?limit=x", "/v1/revocations", json!({}), 400),
        ("get", "/v1/players", "/v1/players", json!({}), 200),
        ("get", "/v1/players?after=", "/v1/players", json!({}), 400),
        ("get", "/v1/players/ada", "/v1/players/{id}", json!({}), 404),
        ("delete", "/v1/players/ada", "/v1/players/{id}", json!({}), 404),
        ("delete", "/v1/players/ada?revoke=true", "/v1/players/{id}", json!({}), 200),
        ("get", "/v1/lobbies", "/v1/lobbies", json!({}), 200),
        ("get", "/v1/lobbies?after=x", "/v1/lobbies", json!({}), 400),
        ("post", "/v1/keys/reload", "/v1/keys/reload", json!({}), 200),
        ("get", "/openapi.json", "/openapi.json", json!({}), 200),
    ];
    let mut heard = BTreeSet::new();
    for (method, sent, path, body, expected) in asked {
        let (status, headers, answer) = send(&router, request(method, sent, &body.to_string())).await;
        assert_eq!(status, expected, "{method} {sent}: {answer}");
        let told = &document["paths"][path][method]["responses"][status.to_string()]["content"];
        let kind = headers[header::CONTENT_TYPE].to_str().unwrap();
        let schema = told.get(kind).unwrap_or_else(|| panic!("{method} {sent}: {status} {kind} is not documented"));
        assert!(fits(&document, &schema["schema"], &answer), "{method} {sent}: {answer}");
        if status < 300 {
            heard.insert((path.to_owned(), method.to_owned()));
        }
    }
    for (path, method, _) in operations(&document) {
        let succeeded = heard.contains(&(path.clone(), method.clone()));
        assert!(succeeded || (path == "/v1/players/{id}" && method == "get"), "{method} {path} was not asked");
    }
}

#[tokio::test]
async fn without_the_token_nothing_is_told() {
    let (router, admission) = api(signing);
    let mut statuses = Vec::new();
    for path in ["/openapi.json", "/v1/players", "/nowhere", "/"] {
        for token in ["", "Bearer ", "Bearer 9f86d081884c7d659a2feaa0c55ad014", &format!("Basic {TOKEN}"), TOKEN] {
            let request = Request::get(path).header(header::AUTHORIZATION, token).body(Body::empty()).unwrap();
            let (status, headers, body) = send(&router, request).await;
            assert_eq!(headers.contains_key(header::WWW_AUTHENTICATE), status == 401);
            assert!(!body.to_string().contains(TOKEN));
            statuses.push(status);
        }
    }
    // A burst of ten is told that the token is wrong, the others to slow down; the clock gives back one in 100 ms.
    assert!(statuses[..10].iter().all(|status| *status == 401), "{statuses:?}");
    assert!(statuses.iter().all(|status| [401, 429].contains(status)) && statuses.contains(&429), "{statuses:?}");
    assert_eq!(admission.hub().metrics().admin_refused.get(), 20);
    let mut twice = request("get", "/v1/players", "");
    twice.headers_mut().append(header::AUTHORIZATION, "Bearer x".parse().unwrap());
    assert!([401, 429].contains(&send(&router, twice).await.0), "two tokens are none");
    assert_eq!(ask(&router, "get", "/v1/players", json!({})).await.0, 200, "the right one passes through all that");
    assert_eq!(ask(&router, "get", "/nowhere", json!({})).await.0, 404);
}

#[tokio::test]
async fn a_body_is_plain_json_or_is_refused() {
    let (router, _) = api(signing);
    let post = |kind: &'static str, coding: Option<&'static str>, body: &str| {
        let mut request = request("post", "/v1/revocations", body);
        request.headers_mut().insert(header::CONTENT_TYPE, kind.parse().unwrap());
        if let Some(coding) = coding {
            request.headers_mut().insert(header::CONTENT_ENCODING, coding.parse().unwrap());
        }
        request
    };
    let good = r#"{"jti":"t"}"#;
    for (kind, coding, body, expected) in [
        ("application/json", None, good, 200),
        ("Application/JSON; charset=utf-8", None, good, 200),
        ("text/plain", None, good, 415),
        ("application/x-www-form-urlencoded", None, good, 415),
        ("application/json", Some("gzip"), good, 415),
        ("application/json", None, "", 400),
        ("application/json", None, "{", 400),
        ("application/json", None, r#"{"jti":"t","jti":"u"}"#, 400),
        ("application/json", None, r#"{"jit":"t"}"#, 400),
        ("application/json", None, "[]", 400),
    ] {
        let (status, _, answer) = send(&router, post(kind, coding, body)).await;
        assert_eq!(status, expected, "{kind} {coding:?} {body}: {answer}");
    }
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    assert_eq!(send(&router, post("application/json", None, &deep)).await.0, 400);
}

#[tokio::test]
async fn what_this_node_would_refuse_is_not_minted() {
    let (router, admission) = api(signing);
    let mint = async |body| ask(&router, "post", "/v1/tickets", body).await;
    let (status, answer) = mint(json!({ "sub": "ada", "name": "Ada", "role": "host", "game": "arena",
        "lifetime": 30, "session_exp": 9_999_999_999_u64, "claims": { "guild": [1, 2] } }))
    .await;
    assert_eq!(status, 201, "{answer}");
    let now = admission.hub().clock().unix();
    let ticket = answer["ticket"].as_str().unwrap();
    let (verified, claims) = admission.verifier().judge(ticket, now).unwrap();
    assert_eq!((verified.player.as_str(), verified.name.as_deref()), ("ada", Some("Ada")));
    assert_eq!(claims["guild"], json!([1, 2]));
    assert_eq!(verified.facts.jti.unwrap().as_str(), answer["jti"]);
    assert_eq!(verified.expires_at.0, answer["expires_at"].as_u64().unwrap());
    for bad in [
        json!({}),
        json!({ "sub": "ada", "role": "admin" }),
        json!({ "sub": "ada", "game": "Not A Game" }),
        json!({ "sub": "ada", "lifetime": 0 }),
        json!({ "sub": "ada", "lifetime": 121 }),
        json!({ "sub": "ada", "session_exp": 1 }),
        json!({ "sub": "ada", "claims": { "exp": 9_999_999_999_u64 } }),
        json!({ "sub": "ada", "claims": { "nodes": ["other"] } }),
        json!({ "sub": "ada", "claims": { "big": "x".repeat(4_000) } }),
        json!({ "sub": "ada", "exp": 9_999_999_999_u64 }),
    ] {
        let (status, answer) = mint(bad.clone()).await;
        assert_eq!(status, 400, "{bad}: {answer}");
    }
    let (without, _) = api(|_| Keys { signer: None, broken: false });
    let (status, answer) = ask(&without, "post", "/v1/tickets", json!({ "sub": "ada" })).await;
    assert_eq!((status, &answer["type"]), (409, &json!("no-signing-key")));
    let (broken, _) = api(|signer| Keys { signer: Some(signer), broken: true });
    let (status, answer) = ask(&broken, "post", "/v1/keys/reload", json!({})).await;
    assert_eq!((status, &answer["type"], &answer["detail"]), (409, &json!("bad-keys"), &json!("keys.json: not a key")));
}

#[tokio::test]
async fn the_list_of_revocations_is_paged_and_says_where_each_is_from() {
    let (router, admission) = api(signing);
    for n in 0..5 {
        assert_eq!(ask(&router, "delete", &format!("/v1/tickets/t{n}"), json!({})).await.0, 200);
    }
    admission.replace_listed(&crate::directory::read_list(r#"{"player":"mallory"}"#).unwrap());
    assert_eq!(admission.send_listed_away().await, 0);
    let (_, page) = ask(&router, "get", "/v1/revocations?limit=2&offset=4", json!({})).await;
    assert_eq!(page["total"], 6);
    assert_eq!(page["revocations"][0]["jti"], "t4");
    assert_eq!(page["revocations"][1], json!({ "player": "mallory", "source": "file" }));
    assert_eq!(admission.hub().metrics().revocations.get(), 6);
}
