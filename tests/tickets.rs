//! What a ticket must be to be accepted, tried from outside: every check with what passes and what just fails it.
//!
//! Tokens are put together by hand here, so that nothing of the minting side decides what can be tried.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::{Arc, Barrier, LazyLock, Mutex};
use std::thread;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::EncodingKey;
use muster::ids::{GameName, LobbyId, SessionId};
use muster::ticket::{
    Algorithm, Burn, Claims, GeneratedKey, KeyFault, KeyHint, KeyRing, LobbyBinding, Role, Signer, TicketFault,
    TicketId, TicketPolicy, UnixSeconds, UsedTickets, Verifier, generate_key,
};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

const NOW: UnixSeconds = UnixSeconds(1_800_000_000);

/// One key of each algorithm, made once: an RSA key takes its time.
static KEYS: LazyLock<Vec<GeneratedKey>> =
    LazyLock::new(|| Algorithm::ALL.into_iter().map(|algorithm| generate_key(algorithm).unwrap()).collect());

fn key(algorithm: Algorithm) -> &'static GeneratedKey {
    KEYS.iter().find(|key| key.algorithm == algorithm).unwrap()
}

fn hint(algorithm: Algorithm) -> KeyHint {
    KeyHint { kid: None, algorithm: Some(algorithm) }
}

fn signer(algorithm: Algorithm) -> Signer {
    Signer::from_text(&key(algorithm).private, &hint(algorithm)).unwrap()
}

fn verifier(algorithm: Algorithm) -> Verifier {
    Verifier::new(signer(algorithm).ring().unwrap(), TicketPolicy::default())
}

/// A secret that the tests may sign anything with, and the ring that knows it as `k1`.
const SECRET: [u8; 32] = [7; 32];

fn ring() -> KeyRing {
    let jwk = json!({ "kty": "oct", "kid": "k1", "alg": "HS256", "k": URL_SAFE_NO_PAD.encode(SECRET) });
    KeyRing::from_text(&jwk.to_string(), &KeyHint::default()).unwrap()
}

fn hand_made() -> Verifier {
    Verifier::new(ring(), TicketPolicy::default())
}

fn good_header() -> Value {
    json!({ "alg": "HS256", "kid": "k1", "typ": "muster-ticket+jwt" })
}

fn good_claims() -> Value {
    json!({ "iss": "muster", "aud": "muster", "sub": "ada", "jti": "t-1", "iat": NOW.0, "exp": NOW.0 + 60 })
}

fn hmac(message: &str, secret: &[u8]) -> String {
    muster::ticket::install_crypto();
    let key = EncodingKey::from_secret(secret);
    jsonwebtoken::crypto::sign(message.as_bytes(), &key, jsonwebtoken::Algorithm::HS256).unwrap()
}

fn token_of_texts(header: &str, claims: &str, secret: &[u8]) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = hmac(&message, secret);
    format!("{message}.{signature}")
}

fn token(header: &Value, claims: &Value) -> String {
    token_of_texts(&header.to_string(), &claims.to_string(), &SECRET)
}

fn verify_claims(claims: &Value) -> Result<(), TicketFault> {
    hand_made().verify(&token(&good_header(), claims), NOW).map(drop)
}

fn with(mut object: Value, name: &str, value: Value) -> Value {
    object[name] = value;
    object
}

fn without(mut object: Value, name: &str) -> Value {
    object.as_object_mut().unwrap().remove(name).unwrap();
    object
}

#[test]
fn a_good_ticket_of_every_algorithm_says_what_was_put_into_it() {
    let more: Map<String, Value> = serde_json::from_value(json!({
        "name": "Ada", "role": "host", "game": "arena", "lobby": LobbyId(9).to_string(),
        "session": SessionId(5).to_string(), "rating": 1500.5, "party": "p-1", "session_exp": NOW.0 + 3_600, "other": [1],
    }))
    .unwrap();
    let claims = Claims {
        issuer: "muster".into(),
        audience: "muster".into(),
        player: "ada".into(),
        ticket_id: TicketId::from_random(77),
        issued_at: NOW,
        expires_at: UnixSeconds(NOW.0 + 60),
        more,
    };
    for algorithm in Algorithm::ALL {
        let ticket = signer(algorithm).mint(&claims).unwrap();
        let verified = verifier(algorithm).verify(ticket.reveal(), NOW).unwrap_or_else(|e| panic!("{algorithm}: {e}"));
        assert_eq!(verified.player.as_str(), "ada");
        assert_eq!(verified.name.as_deref(), Some("Ada"));
        assert_eq!(verified.facts.jti, Some(claims.ticket_id.clone()));
        assert_eq!((verified.facts.issued_at, verified.expires_at), (NOW, claims.expires_at));
        assert_eq!(verified.burned_until, UnixSeconds(NOW.0 + 65));
        assert_eq!(verified.facts.session_expires_at, Some(UnixSeconds(NOW.0 + 3_600)));
        assert_eq!(verified.grants.role, Role::Host);
        assert_eq!(verified.grants.game, GameName::new("arena").ok());
        assert_eq!(verified.grants.lobby, Some(LobbyBinding::Id(LobbyId(9))));
        assert_eq!(verified.grants.session, Some(SessionId(5)));
        assert_eq!(verified.grants.rating, Some(1500.5));
        assert_eq!(verified.grants.party.as_deref(), Some("p-1"));
    }
}

#[test]
fn a_generated_public_key_set_verifies_and_cannot_sign() {
    for algorithm in Algorithm::ALL.into_iter().filter(|algorithm| !algorithm.is_shared_secret()) {
        let public = key(algorithm).public.as_ref().unwrap();
        let ring = KeyRing::from_text(public, &KeyHint::default()).unwrap();
        assert_eq!(ring.keys().next().unwrap().algorithm(), algorithm);
        let ticket = signer(algorithm).mint(&plain_claims()).unwrap();
        assert!(Verifier::new(ring, TicketPolicy::default()).verify(ticket.reveal(), NOW).is_ok());
        assert_eq!(Signer::from_text(public, &KeyHint::default()).unwrap_err(), KeyFault::NoPrivateKey);
        assert!(!public.contains("\"d\""));
    }
}

fn plain_claims() -> Claims {
    Claims {
        issuer: "muster".into(),
        audience: "muster".into(),
        player: "ada".into(),
        ticket_id: TicketId::from_random(1),
        issued_at: NOW,
        expires_at: UnixSeconds(NOW.0 + 60),
        more: Map::new(),
    }
}

#[test]
fn one_ring_holds_public_keys_of_several_algorithms_and_each_verifies_its_own() {
    let several = [Algorithm::EdDsa, Algorithm::Es256, Algorithm::Es384, Algorithm::Rs256];
    let ring = KeyRing::from_keys(several.map(|algorithm| signer(algorithm).key().clone())).unwrap();
    let verifier = Verifier::new(ring, TicketPolicy::default());
    for algorithm in several {
        let ticket = signer(algorithm).mint(&plain_claims()).unwrap();
        assert!(verifier.verify(ticket.reveal(), NOW).is_ok(), "{algorithm}");
    }
    let stranger = generate_key(Algorithm::EdDsa).unwrap();
    let stranger = Signer::from_text(&stranger.private, &KeyHint::default()).unwrap();
    let ticket = stranger.mint(&plain_claims()).unwrap();
    assert_eq!(verifier.verify(ticket.reveal(), NOW), Err(TicketFault::UnknownKey));
}

#[test]
fn a_key_of_the_same_name_does_not_make_a_strangers_signature_good() {
    let kid = KeyHint { kid: Some(muster::ticket::KeyId::new("k").unwrap()), algorithm: None };
    let ours = Signer::from_text(&key(Algorithm::EdDsa).private, &kid).unwrap();
    let stranger = Signer::from_text(&generate_key(Algorithm::EdDsa).unwrap().private, &kid).unwrap();
    let verifier = Verifier::new(ours.ring().unwrap(), TicketPolicy::default());
    let forged = stranger.mint(&plain_claims()).unwrap();
    assert_eq!(verifier.verify(forged.reveal(), NOW), Err(TicketFault::BadSignature));
}

#[test]
fn every_edge_of_time_is_exact_to_the_second() {
    use TicketFault::{Expired, LifetimeTooLong, NotYetValid};
    // What is claimed, as an offset from NOW in seconds, and what is said of it at NOW. Leeway 5, lifetime 120.
    type Row = (&'static str, i64, i64, Option<i64>, Result<(), TicketFault>);
    let table: [Row; 20] = [
        ("fresh", 0, 60, None, Ok(())),
        ("its last second without leeway", -59, 1, None, Ok(())),
        ("at exp, within the leeway", -60, 0, None, Ok(())),
        ("the last second of the leeway", -60, -4, None, Ok(())),
        ("the leeway is over", -60, -5, None, Err(Expired)),
        ("a second past the leeway", -60, -6, None, Err(Expired)),
        ("expired long ago", -1_000_000, -999_940, None, Err(Expired)),
        ("issued at the leeway's edge", 5, 60, None, Ok(())),
        ("issued a second past it", 6, 60, None, Err(NotYetValid)),
        ("issued next year", 31_536_000, 31_536_060, None, Err(NotYetValid)),
        ("not before the leeway's edge", 0, 60, Some(5), Ok(())),
        ("not before a second past it", 0, 60, Some(6), Err(NotYetValid)),
        ("not before the past", 0, 60, Some(-60), Ok(())),
        ("a lifetime of just 120 s", 0, 120, None, Ok(())),
        ("a lifetime of 119 s", 0, 119, None, Ok(())),
        ("a lifetime of 121 s", 0, 121, None, Err(LifetimeTooLong)),
        ("issued early, lives too long", -60, 61, None, Err(LifetimeTooLong)),
        ("issued early, lives just long enough", -60, 60, None, Ok(())),
        ("ten years", 0, 315_360_000, None, Err(LifetimeTooLong)),
        ("expires before it was issued", 0, -5, None, Err(Expired)),
    ];
    for (what, iat, exp, nbf, expected) in table {
        let at = |offset: i64| json!(NOW.0.saturating_add_signed(offset));
        let mut claims = with(with(good_claims(), "iat", at(iat)), "exp", at(exp));
        if let Some(nbf) = nbf {
            claims = with(claims, "nbf", at(nbf));
        }
        assert_eq!(verify_claims(&claims), expected, "{what}");
    }
}

#[test]
fn times_at_the_ends_of_the_range_are_judged_and_never_overflow() {
    let times = |iat: u64, exp: u64| with(with(good_claims(), "iat", json!(iat)), "exp", json!(exp));
    assert_eq!(verify_claims(&times(0, u64::MAX)), Err(TicketFault::LifetimeTooLong));
    assert_eq!(verify_claims(&times(u64::MAX, u64::MAX)), Err(TicketFault::NotYetValid));
    assert_eq!(verify_claims(&times(0, 0)), Err(TicketFault::Expired));
    let good = token(&good_header(), &good_claims());
    assert_eq!(hand_made().verify(&good, UnixSeconds(0)), Err(TicketFault::NotYetValid));
    assert_eq!(hand_made().verify(&good, UnixSeconds(u64::MAX)), Err(TicketFault::Expired));
}

#[test]
fn a_session_that_is_over_is_expired() {
    let ends = |end: u64| verify_claims(&with(good_claims(), "session_exp", json!(end)));
    assert_eq!(ends(NOW.0 + 1), Ok(()));
    assert_eq!(ends(NOW.0), Err(TicketFault::Expired));
}

#[test]
fn every_required_claim_is_missed_when_it_is_dropped() {
    for name in ["iss", "aud", "sub", "exp", "iat", "jti"] {
        assert_eq!(verify_claims(&without(good_claims(), name)), Err(TicketFault::MissingClaim(name)));
    }
}

#[test]
fn every_claim_of_another_type_is_refused() {
    let texts = ["iss", "sub", "jti", "name", "role", "game", "lobby", "session", "party"];
    let numbers = ["exp", "iat", "nbf", "session_exp"];
    let lists = ["aud", "nodes"];
    let in_range = (NOW.0 + 30).to_string();
    let wrong_everywhere =
        ["null", "true", "[]", "{}", r#"{"a":1}"#, "[1]", "[null]", "[[\"muster\"]]", "1.5", "-1", "1e400"];
    let mut tried = 0;
    for name in texts.into_iter().chain(numbers).chain(lists) {
        let mut wrong = wrong_everywhere.map(str::to_owned).to_vec();
        if numbers.contains(&name) {
            // A number in quotes, with a fraction, in exponent form, or past 64 bits is another type of number.
            let others = [format!("\"{in_range}\""), format!("{in_range}.0"), format!("{in_range}.5"), "18e8".into()];
            wrong.extend(others);
            wrong.push("18446744073709551616".into());
        } else {
            wrong.extend(["0".into(), in_range.clone(), "\"\"".into()]);
        }
        if texts.contains(&name) {
            wrong.push("[\"muster\"]".into());
        }
        for value in wrong {
            if name == "iss" && value == "\"\"" {
                continue; // the right type, and not our issuer: another fault
            }
            let rest = good_claims().as_object_mut().map(std::mem::take).unwrap();
            let rest: Map<_, _> = rest.into_iter().filter(|(other, _)| other != name).collect();
            let text = format!("{{\"{name}\":{value},{}", &Value::Object(rest).to_string()[1..]);
            let verdict = hand_made().verify(&token_of_texts(&good_header().to_string(), &text, &SECRET), NOW);
            let expected = match value.as_str() {
                "1e400" => TicketFault::UnreadableClaims,
                "\"\"" if name == "aud" => TicketFault::WrongAudience,
                "\"\"" if name == "nodes" => TicketFault::WrongNode,
                _ => TicketFault::BadClaim(name),
            };
            assert_eq!(verdict.map(drop), Err(expected), "{name}: {value}");
            tried += 1;
        }
    }
    assert!(tried > 200, "{tried}");
}

#[test]
fn claims_out_of_their_bounds_are_refused() {
    let long = |n: usize| json!("x".repeat(n));
    for (name, bound) in [("sub", 64), ("jti", 128), ("name", 128), ("party", 64)] {
        assert_eq!(verify_claims(&with(good_claims(), name, long(bound))), Ok(()), "{name}");
        assert_eq!(verify_claims(&with(good_claims(), name, long(bound + 1))), Err(TicketFault::BadClaim(name)));
        let control = with(good_claims(), name, json!("a\u{1b}[2J"));
        assert_eq!(verify_claims(&control), Err(TicketFault::BadClaim(name)));
    }
    for value in ["\"1500\"", "null", "true", "[1]", "{}"] {
        let rating = serde_json::from_str(value).unwrap();
        assert_eq!(verify_claims(&with(good_claims(), "rating", rating)), Err(TicketFault::BadClaim("rating")));
    }
    for rating in [json!(1500), json!(-3.5), json!(0)] {
        assert_eq!(verify_claims(&with(good_claims(), "rating", rating)), Ok(()));
    }
}

#[test]
fn a_claim_that_is_there_twice_is_refused() {
    let mut text = good_claims().to_string();
    text.insert_str(1, "\"sub\":\"eve\",");
    let verdict = hand_made().verify(&token_of_texts(&good_header().to_string(), &text, &SECRET), NOW);
    assert_eq!(verdict, Err(TicketFault::UnreadableClaims));
}

#[test]
fn issuer_audience_and_kind_must_be_ours() {
    let claim = |name: &str, value: Value| verify_claims(&with(good_claims(), name, value));
    for other in ["Muster", "muster ", "muster.evil", "https://muster"] {
        assert_eq!(claim("iss", json!(other)), Err(TicketFault::WrongIssuer));
        assert_eq!(claim("aud", json!(other)), Err(TicketFault::WrongAudience));
        assert_eq!(claim("aud", json!([other, "x"])), Err(TicketFault::WrongAudience));
    }
    assert_eq!(claim("aud", json!(["x", "muster"])), Ok(()));
    assert_eq!(claim("aud", json!(["muster", 1])), Err(TicketFault::BadClaim("aud")));

    let typ = |verifier: &Verifier, typ: Option<&str>| {
        let header = match typ {
            Some(typ) => with(good_header(), "typ", json!(typ)),
            None => without(good_header(), "typ"),
        };
        verifier.verify(&token(&header, &good_claims()), NOW).map(drop)
    };
    let lax = hand_made();
    let strict = Verifier::new(ring(), TicketPolicy { require_typ: true, ..TicketPolicy::default() });
    for own in ["muster-ticket+jwt", "MUSTER-TICKET+JWT", "application/muster-ticket+jwt"] {
        assert_eq!((typ(&lax, Some(own)), typ(&strict, Some(own))), (Ok(()), Ok(())));
    }
    for plain in [None, Some("JWT"), Some("jwt")] {
        assert_eq!((typ(&lax, plain), typ(&strict, plain)), (Ok(()), Err(TicketFault::WrongType)));
    }
    for other in ["at+jwt", "logout+jwt", "dpop+jwt", "", "JWTx", "muster-ticket"] {
        assert_eq!(typ(&lax, Some(other)), Err(TicketFault::WrongType), "{other}");
    }
}

#[test]
fn a_ticket_for_other_nodes_is_refused() {
    let listed = token(&good_header(), &with(good_claims(), "nodes", json!(["eu-1", "eu-2"])));
    let at = |node: Option<&str>| {
        let policy = TicketPolicy { node: node.map(str::to_owned), ..TicketPolicy::default() };
        Verifier::new(ring(), policy).verify(&listed, NOW).map(drop)
    };
    assert_eq!(at(Some("eu-2")), Ok(()));
    assert_eq!(at(Some("eu-3")), Err(TicketFault::WrongNode));
    assert_eq!(at(None), Err(TicketFault::WrongNode), "a node without a name is on no list");
}

#[test]
fn no_spelling_of_alg_none_gets_anywhere() {
    let spellings = [
        json!("none"),
        json!("None"),
        json!("NONE"),
        json!("nOnE"),
        json!("noNE"),
        json!("NonE"),
        json!("nonE"),
        json!("none "),
        json!(" none"),
        json!("none\u{0}"),
        json!("ｎone"),
        json!(""),
        json!(null),
        json!(["none"]),
        json!([]),
        json!({}),
        json!({ "alg": "none" }),
        json!(0),
        json!(false),
        json!("hs256"),
        json!("HS256 "),
        json!(["HS256"]),
        json!("HS384"),
        json!("HS512"),
        json!("EdDSA"),
    ];
    assert!(spellings.len() >= 20);
    for alg in spellings {
        let signed = token(&with(good_header(), "alg", alg.clone()), &good_claims());
        let (message, _) = signed.rsplit_once('.').unwrap();
        for token in [signed.clone(), format!("{message}."), message.to_owned(), format!("{message}.AAAA")] {
            let fault = hand_made().verify(&token, NOW).unwrap_err();
            let expected = [TicketFault::AlgorithmMismatch, TicketFault::BadHeader("alg"), TicketFault::NotAToken];
            assert!(expected.contains(&fault), "{alg}: {fault:?}");
        }
    }
    let without_alg = token(&without(good_header(), "alg"), &good_claims());
    assert_eq!(hand_made().verify(&without_alg, NOW), Err(TicketFault::BadHeader("alg")));
    let good = token(&good_header(), &good_claims());
    let unsigned = format!("{}.", good.rsplit_once('.').unwrap().0);
    assert_eq!(hand_made().verify(&unsigned, NOW), Err(TicketFault::BadSignature), "the right alg, and no signature");
}

#[test]
fn a_public_key_is_never_taken_for_a_secret() {
    for algorithm in Algorithm::ALL.into_iter().filter(|algorithm| !algorithm.is_shared_secret()) {
        let verifier = verifier(algorithm);
        let own = verifier.issuers()[0].ring.keys().next().unwrap();
        let jwk = own.public_jwk().unwrap();
        let der = spki(&jwk);
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(&der));
        let set = key(algorithm).public.clone().unwrap();
        let first_number = ["x", "n"].into_iter().find_map(|name| jwk[name].as_str()).unwrap();
        let secrets: [Vec<u8>; 8] = [
            pem.clone().into_bytes(),
            pem.trim().as_bytes().to_vec(),
            STANDARD.encode(&der).into_bytes(),
            der,
            jwk.to_string().into_bytes(),
            set.into_bytes(),
            first_number.as_bytes().to_vec(),
            URL_SAFE_NO_PAD.decode(first_number).unwrap(),
        ];
        for secret in &secrets {
            for header in [
                json!({ "alg": "HS256", "kid": own.id().as_str() }),
                json!({ "alg": "HS256" }),
                json!({ "alg": "HS512", "kid": own.id().as_str() }),
            ] {
                let forged = token_of_texts(&header.to_string(), &good_claims().to_string(), secret);
                assert_eq!(verifier.verify(&forged, NOW), Err(TicketFault::AlgorithmMismatch), "{algorithm}");
            }
            // And with the right `alg` written over it, the signature is no signature.
            let header = json!({ "alg": algorithm.name(), "kid": own.id().as_str() });
            let forged = token_of_texts(&header.to_string(), &good_claims().to_string(), secret);
            assert_eq!(verifier.verify(&forged, NOW), Err(TicketFault::BadSignature), "{algorithm}");
        }
    }
}

/// The SPKI of a public JWK, in DER: what a forger would read out of a PEM.
fn spki(jwk: &Value) -> Vec<u8> {
    use aws_lc_rs::encoding::AsDer;
    use aws_lc_rs::signature::{self as aws, RsaPublicKeyComponents, UnparsedPublicKey};
    let bytes = |name: &str| URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap();
    let point = || [vec![4], bytes("x"), bytes("y")].concat();
    let parsed = match (jwk["kty"].as_str().unwrap(), jwk["crv"].as_str()) {
        ("OKP", _) => UnparsedPublicKey::new(&aws::ED25519, bytes("x")).parse(),
        ("EC", Some("P-256")) => UnparsedPublicKey::new(&aws::ECDSA_P256_SHA256_FIXED, point()).parse(),
        ("EC", _) => UnparsedPublicKey::new(&aws::ECDSA_P384_SHA384_FIXED, point()).parse(),
        _ => RsaPublicKeyComponents { n: bytes("n"), e: bytes("e") }
            .to_parsed_public_key(&aws::RSA_PKCS1_2048_8192_SHA256),
    };
    parsed.unwrap().as_der().unwrap().as_ref().to_vec()
}

#[test]
fn a_public_pem_verifies_what_its_private_half_signed() {
    for algorithm in Algorithm::ALL.into_iter().filter(|algorithm| !algorithm.is_shared_secret()) {
        let der = spki(&signer(algorithm).key().public_jwk().unwrap());
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der));
        let ring = KeyRing::from_text(&pem, &hint(algorithm)).unwrap();
        let ticket = signer(algorithm).mint(&plain_claims()).unwrap();
        assert!(Verifier::new(ring, TicketPolicy::default()).verify(ticket.reveal(), NOW).is_ok(), "{algorithm}");
    }
}

#[test]
fn a_header_that_brings_its_own_key_or_extensions_is_refused() {
    for (name, value) in [
        ("jku", json!("https://evil.example/jwks.json")),
        ("x5u", json!("https://evil.example/cert.pem")),
        ("jwk", json!({ "kty": "oct", "k": "AAAA" })),
        ("x5c", json!(["MIIB"])),
        ("crit", json!(["exp"])),
        ("crit", json!([])),
        ("jku", json!(null)),
    ] {
        let hostile = token(&with(good_header(), name, value), &good_claims());
        assert_eq!(hand_made().verify(&hostile, NOW), Err(TicketFault::ForbiddenHeader(name)));
    }
    let harmless = token(&with(good_header(), "x5t", json!("AAAA")), &good_claims());
    assert!(hand_made().verify(&harmless, NOW).is_ok(), "members that name no key are ignored");
}

#[test]
fn a_kid_is_an_exact_name_and_nothing_else() {
    let hostile = [
        "K1",
        "k1 ",
        " k1",
        "k1\0",
        "k1\n",
        "k2",
        "",
        "../k1",
        "../../../../dev/null",
        "/etc/passwd",
        "k1'; DROP TABLE keys;--",
        "' OR '1'='1",
        "${jndi:ldap://evil}",
        "$(id)",
        "|id",
        "http://evil.example/k1",
        "k1%00",
        "*",
        "k1,k2",
        "ｋ1",
    ];
    for kid in hostile {
        let forged = token(&with(good_header(), "kid", json!(kid)), &good_claims());
        assert_eq!(hand_made().verify(&forged, NOW), Err(TicketFault::UnknownKey), "{kid:?}");
    }
    for kid in [json!(null), json!(1), json!(["k1"]), json!({ "kid": "k1" }), json!(true)] {
        let forged = token(&with(good_header(), "kid", kid), &good_claims());
        assert_eq!(hand_made().verify(&forged, NOW), Err(TicketFault::BadHeader("kid")));
    }
    let none = token(&without(good_header(), "kid"), &good_claims());
    assert!(hand_made().verify(&none, NOW).is_ok(), "the ring has one key");
}

#[test]
fn a_token_without_kid_is_refused_when_there_are_several_keys() {
    let second = json!({ "kty": "oct", "kid": "k2", "k": URL_SAFE_NO_PAD.encode([8; 32]) }).to_string();
    let two = ring().joined(&KeyRing::from_text(&second, &KeyHint::default()).unwrap()).unwrap();
    let verifier = Verifier::new(two, TicketPolicy::default());
    let none = token(&without(good_header(), "kid"), &good_claims());
    assert_eq!(verifier.verify(&none, NOW), Err(TicketFault::UnknownKey));
    assert!(verifier.verify(&token(&good_header(), &good_claims()), NOW).is_ok());
    let crossed = token(&with(good_header(), "kid", json!("k2")), &good_claims());
    assert_eq!(verifier.verify(&crossed, NOW), Err(TicketFault::BadSignature));
}

#[test]
fn the_size_is_checked_before_anything_else_to_the_byte() {
    let padded = |bytes: usize| {
        let empty = token(&with(good_header(), "x", json!("")), &good_claims()).len();
        // Three bytes of header are four of token; the header's own length takes up the remainder.
        (0..bytes)
            .map(|n| {
                token(&with(good_header(), "x", json!("x".repeat(n + (bytes - empty) * 3 / 4 - 4))), &good_claims())
            })
            .find(|token| token.len() >= bytes)
            .unwrap()
    };
    let at_the_bound = padded(2_048);
    assert_eq!(at_the_bound.len(), 2_048);
    assert!(hand_made().verify(&at_the_bound, NOW).is_ok());
    let over = padded(2_049);
    assert_eq!(hand_made().verify(&over, NOW), Err(TicketFault::TooLong));
    assert_eq!(hand_made().verify(&"a".repeat(1_000_000), NOW), Err(TicketFault::TooLong));
    assert_eq!(hand_made().verify(&".".repeat(1_000_000), NOW), Err(TicketFault::TooLong));
}

#[test]
fn what_is_not_three_parts_of_base64url_is_no_token() {
    let good = token(&good_header(), &good_claims());
    let parts: Vec<&str> = good.split('.').collect();
    let list = URL_SAFE_NO_PAD.encode("[]");
    let bad_utf8 = URL_SAFE_NO_PAD.encode(b"{\"alg\":\"\xff\"}");
    let nested = URL_SAFE_NO_PAD.encode("[".repeat(1_000));
    let twice = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","alg":"HS256","kid":"k1"}"#);
    for junk in [
        "",
        ".",
        "..",
        "...",
        "a",
        "a.b",
        "a.b.c",
        "....",
        "\0.\0.\0",
        "é.é.é",
        &format!("{good}."),
        &format!(".{good}"),
        &format!("{good}.x"),
        &format!("{}..{}", parts[0], parts[2]),
        &format!("{}=.{}.{}", parts[0], parts[1], parts[2]),
        &format!(" {good}"),
        &format!("{list}.{}.{}", parts[1], parts[2]),
        &format!("{bad_utf8}.{}.{}", parts[1], parts[2]),
        &format!("{nested}.{}.{}", parts[1], parts[2]),
        &format!("{twice}.{}.{}", parts[1], parts[2]),
        "eyJhbGciOiJSU0EtT0FFUCJ9.a.b.c.d",
    ] {
        assert_eq!(hand_made().verify(junk, NOW), Err(TicketFault::NotAToken), "{junk:?}");
    }
    for tail in [" ", "\n", "=", "A"] {
        assert_eq!(hand_made().verify(&format!("{good}{tail}"), NOW), Err(TicketFault::BadSignature), "{tail:?}");
    }
}

#[test]
fn claims_are_not_looked_at_before_the_signature_is_known_to_be_good() {
    let expired = with(with(good_claims(), "exp", json!(1)), "iat", json!(1));
    let forged = token_of_texts(&good_header().to_string(), &expired.to_string(), &[9; 32]);
    let fault = hand_made().verify(&forged, NOW).unwrap_err();
    assert_eq!(fault, TicketFault::BadSignature);
    assert!(!fault.is_expired_but_genuine());
    let genuine = hand_made().verify(&token(&good_header(), &expired), NOW).unwrap_err();
    assert!(genuine.is_expired_but_genuine());
    let not_json = token_of_texts(&good_header().to_string(), "not json", &[9; 32]);
    assert_eq!(hand_made().verify(&not_json, NOW), Err(TicketFault::BadSignature));
}

#[test]
fn every_changed_byte_of_a_ticket_is_noticed() {
    for algorithm in [Algorithm::EdDsa, Algorithm::Es256, Algorithm::Hs256] {
        let verifier = verifier(algorithm);
        let good = signer(algorithm).mint(&plain_claims()).unwrap().reveal().to_owned();
        for index in 0..good.len() {
            let mut bytes = good.clone().into_bytes();
            bytes[index] ^= 1;
            let Ok(flipped) = String::from_utf8(bytes) else { continue };
            assert!(verifier.verify(&flipped, NOW).is_err(), "{algorithm}: byte {index}");
        }
    }
}

#[test]
fn no_fault_shows_anything_of_the_token() {
    let canary = "canary";
    let header = with(good_header(), "kid", json!(canary));
    let claims = with(good_claims(), "sub", json!(format!("{canary}\u{0}")));
    for token in [
        token(&header, &good_claims()),
        token(&good_header(), &claims),
        token(&with(good_header(), "alg", json!(canary)), &good_claims()),
        token(&with(good_header(), "typ", json!(canary)), &good_claims()),
        token(&good_header(), &with(good_claims(), "iss", json!(canary))),
        token(&good_header(), &with(good_claims(), "lobby", json!(canary.repeat(9)))),
    ] {
        let fault = hand_made().verify(&token, NOW).unwrap_err();
        let shown = format!("{fault} {fault:?} {}", fault.slug());
        assert!(!shown.contains(canary), "{shown}");
        assert!(!token.split('.').any(|part| shown.contains(part)), "{shown}");
    }
    let jwk = json!({ "kty": "oct", "kid": "k", "k": URL_SAFE_NO_PAD.encode(canary.repeat(6)) }).to_string();
    let signer = Signer::from_text(&jwk, &KeyHint::default()).unwrap();
    let verifier = Verifier::new(signer.ring().unwrap(), TicketPolicy::default());
    let shown =
        format!("{signer:?} {verifier:?} {:?} {:?}", key(Algorithm::EdDsa), signer.mint(&plain_claims()).unwrap());
    assert!(!shown.contains(&URL_SAFE_NO_PAD.encode(canary.repeat(6))) && !shown.contains(canary), "{shown}");
    assert!(!shown.contains("PRIVATE") && !shown.contains("99, 97, 110"), "{shown}");
}

#[test]
fn removing_a_key_refuses_its_tickets_and_no_others() {
    let (old, new) = (signer(Algorithm::EdDsa), signer(Algorithm::Es256));
    let both = Verifier::new(old.ring().unwrap().joined(&new.ring().unwrap()).unwrap(), TicketPolicy::default());
    let after = Verifier::new(new.ring().unwrap(), both.issuers()[0].policy.clone());
    let (by_old, by_new) = (old.mint(&plain_claims()).unwrap(), new.mint(&plain_claims()).unwrap());
    assert!(both.verify(by_old.reveal(), NOW).is_ok() && both.verify(by_new.reveal(), NOW).is_ok());
    assert_eq!(after.verify(by_old.reveal(), NOW), Err(TicketFault::UnknownKey));
    assert!(after.verify(by_new.reveal(), NOW).is_ok());
    assert_eq!(
        Verifier::new(KeyRing::default(), TicketPolicy::default()).verify(by_new.reveal(), NOW),
        Err(TicketFault::UnknownKey)
    );
}

#[test]
fn of_many_racers_with_one_ticket_exactly_one_gets_in() {
    const RACERS: usize = 8;
    const ROUNDS: u128 = 200;
    let used = Arc::new(Mutex::new(UsedTickets::new(1_000)));
    let start = Arc::new(Barrier::new(RACERS));
    let racers: Vec<_> = (0..RACERS)
        .map(|_| {
            let (used, start) = (used.clone(), start.clone());
            thread::spawn(move || {
                (0..ROUNDS)
                    .map(|round| {
                        start.wait();
                        used.lock().unwrap().burn(&TicketId::from_random(round), UnixSeconds(NOW.0 + 65), NOW)
                    })
                    .collect::<Vec<Burn>>()
            })
        })
        .collect();
    let told: Vec<Vec<Burn>> = racers.into_iter().map(|racer| racer.join().unwrap()).collect();
    for round in 0..ROUNDS as usize {
        let firsts = told.iter().filter(|racer| racer[round] == Burn::First).count();
        let again = told.iter().filter(|racer| racer[round] == Burn::Again).count();
        assert_eq!((firsts, again), (1, RACERS - 1), "round {round}");
    }
}

#[test]
fn keys_that_cannot_be_used_are_refused_with_a_reason() {
    let read = |text: &str| KeyRing::from_text(text, &KeyHint::default()).unwrap_err();
    let pem = |label: &str| format!("-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n");
    assert_eq!(read(&pem("PUBLIC KEY")), KeyFault::BadPem);
    assert_eq!(read(&pem("PRIVATE KEY")), KeyFault::UnsupportedKey);
    assert_eq!(read(&pem("CERTIFICATE")), KeyFault::NotAKeyPem);
    assert_eq!(read(&pem("ENCRYPTED PRIVATE KEY")), KeyFault::EncryptedPem);
    assert_eq!(read(&pem("EC PRIVATE KEY")), KeyFault::LegacyPem);
    assert_eq!(read("-----BEGIN PUBLIC KEY-----\nAAAA"), KeyFault::BadPem);
    assert_eq!(read(&(pem("EC PARAMETERS") + &pem("EC PRIVATE KEY"))), KeyFault::LegacyPem);
    let two = format!("{}{}", key(Algorithm::EdDsa).private, key(Algorithm::Es256).private);
    assert_eq!(read(&two), KeyFault::SeveralPemBlocks);
    let weak = |label: &str, body: &str| read(&pem(label).replace("AAAA", body));
    assert_eq!(weak("PUBLIC KEY", WEAK_RSA_PUBLIC), KeyFault::WeakRsa(1_024));
    assert_eq!(weak("PRIVATE KEY", WEAK_RSA_PRIVATE), KeyFault::WeakRsa(1_024));
    for (algorithm, wrong) in [
        (Algorithm::EdDsa, Algorithm::Es256),
        (Algorithm::Rs256, Algorithm::EdDsa),
        (Algorithm::Es256, Algorithm::Es384),
        (Algorithm::Es256, Algorithm::Hs256),
    ] {
        let fault = Signer::from_text(&key(algorithm).private, &hint(wrong)).unwrap_err();
        assert_eq!(fault, KeyFault::AlgorithmMismatch(wrong));
        assert!(!fault.to_string().contains('\n'));
    }
    let dispute =
        KeyRing::from_text(&key(Algorithm::Rs256).public.clone().unwrap(), &hint(Algorithm::Ps256)).unwrap_err();
    assert!(matches!(dispute, KeyFault::InSet { position: 1, .. }), "{dispute}");
}

/// The generated private key as a JWK, put together from its PKCS#8.
fn private_jwk(algorithm: Algorithm) -> Value {
    use aws_lc_rs::encoding::AsBigEndian;
    use aws_lc_rs::signature::{self as aws, EcdsaKeyPair, Ed25519KeyPair};
    let pem = &key(algorithm).private;
    let der = STANDARD.decode(pem.lines().filter(|line| !line.starts_with("--")).collect::<String>());
    let ec_number = |signing| {
        let pair = EcdsaKeyPair::from_pkcs8(signing, der.as_ref().unwrap()).unwrap();
        pair.private_key().as_be_bytes().unwrap().as_ref().to_vec()
    };
    let private: Vec<(&str, Vec<u8>)> = match algorithm {
        Algorithm::EdDsa => {
            let pair = Ed25519KeyPair::from_pkcs8(der.as_ref().unwrap()).unwrap();
            vec![("d", pair.seed().unwrap().as_be_bytes().unwrap().as_ref().to_vec())]
        }
        Algorithm::Es256 => vec![("d", ec_number(&aws::ECDSA_P256_SHA256_FIXED_SIGNING))],
        Algorithm::Es384 => vec![("d", ec_number(&aws::ECDSA_P384_SHA384_FIXED_SIGNING))],
        Algorithm::Rs256 | Algorithm::Ps256 => {
            let pkcs1 = EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap();
            let (_, numbers) = x509_parser::der_parser::der::parse_der_sequence(pkcs1.as_bytes()).unwrap();
            let number = |index: usize| numbers.as_sequence().unwrap()[index].as_slice().unwrap().to_vec();
            // RFC 8017 A.1.2: version, n, e, d, p, q, dP, dQ, qInv.
            ["d", "p", "q", "dp", "dq", "qi"].into_iter().zip(3..).map(|(name, index)| (name, number(index))).collect()
        }
        Algorithm::Hs256 => return serde_json::from_str(pem).unwrap(),
    };
    let mut jwk = signer(algorithm).key().public_jwk().unwrap();
    for (name, bytes) in private {
        jwk[name] = json!(URL_SAFE_NO_PAD.encode(bytes));
    }
    jwk
}

#[test]
fn a_private_jwk_signs_as_its_pem_does_and_must_be_whole() {
    for algorithm in Algorithm::ALL {
        let jwk = private_jwk(algorithm);
        let signer = Signer::from_text(&jwk.to_string(), &KeyHint::default()).unwrap();
        assert_eq!(signer.key().algorithm(), algorithm);
        let ticket = signer.mint(&plain_claims()).unwrap();
        assert!(verifier(algorithm).verify(ticket.reveal(), NOW).is_ok(), "{algorithm}");
        if algorithm.is_shared_secret() {
            continue;
        }
        // One bit of the private part: it no longer belongs to the public one.
        let mut d = URL_SAFE_NO_PAD.decode(jwk["d"].as_str().unwrap()).unwrap();
        d[10] ^= 4;
        let other = with(jwk.clone(), "d", json!(URL_SAFE_NO_PAD.encode(&d)));
        let refused = |jwk: &Value| Signer::from_text(&jwk.to_string(), &KeyHint::default()).unwrap_err();
        assert_eq!(refused(&other), KeyFault::BadPrivateKey, "{algorithm}");
        let short = with(jwk.clone(), "d", json!("AAAA"));
        assert_eq!(refused(&short), KeyFault::BadPrivateKey, "{algorithm}");
        if jwk["kty"] == "RSA" {
            assert_eq!(refused(&without(jwk, "qi")), KeyFault::JwkMember("qi"));
        }
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_verifier_panic(text in ".*") {
        prop_assert!(hand_made().verify(&text, NOW).is_err());
    }

    #[test]
    fn no_text_in_the_shape_of_a_token_makes_the_verifier_panic(text in "[A-Za-z0-9_=-]{0,40}\\.[A-Za-z0-9_-]{0,40}\\.[A-Za-z0-9_-]{0,90}") {
        prop_assert!(hand_made().verify(&text, NOW).is_err());
    }

    #[test]
    fn no_header_makes_the_verifier_panic(header in ".{0,200}") {
        let _ = hand_made().verify(&token_of_texts(&header, "{}", &SECRET), NOW);
    }

    #[test]
    fn no_signed_claim_makes_the_verifier_panic(name in "(iss|aud|sub|exp|iat|jti|nbf|nodes|role|game|lobby|session|session_exp|rating|party|name)", value in arbitrary_json()) {
        let _ = verify_claims(&with(good_claims(), &name, value));
    }

    #[test]
    fn no_text_makes_the_key_reader_panic(text in "(-----BEGIN (PUBLIC|PRIVATE) KEY-----\n)?[A-Za-z0-9+/={}\":,\n]{0,300}(\n-----END (PUBLIC|PRIVATE) KEY-----\n)?") {
        prop_assert!(KeyRing::from_text(&text, &KeyHint::default()).is_err());
    }

    #[test]
    fn whatever_the_order_of_burns_no_ticket_is_first_twice(burns in prop::collection::vec((0_u128..6, 0_u64..20), 1..200), capacity in 0_usize..6) {
        let mut used = UsedTickets::new(capacity);
        let mut first = std::collections::BTreeSet::new();
        for (ticket, now) in burns {
            // Every ticket has one end of its own; the clock jumps both ways.
            let until = UnixSeconds(10 + ticket as u64);
            match used.burn(&TicketId::from_random(ticket), until, UnixSeconds(now)) {
                Burn::First => prop_assert!(first.insert(ticket)),
                Burn::Again => prop_assert!(first.contains(&ticket)),
                Burn::Late | Burn::Full => {}
            }
            prop_assert!(used.len() <= capacity);
        }
    }
}

fn arbitrary_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,40}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(".{0,8}", inner, 0..4).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Keys of 1,024 bits, made once with openssl and used for nothing else: the insides of their PEMs.
const WEAK_RSA_PUBLIC: &str = "\
    MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQC8bA23wky3RS/fKeCjM6R4SBCN\
    icx54zx81DDb2XC2B2SfDdI85qRm/zeJ/82/Z02eGz74uhHP4X2gkQqiqc7qjFSW\
    kPKLf0DD/jpA2SUJvYjubfIWcc2QZS7tUOz7NFOQPAWw8T883s3ZDIadKH1q2OiD\
    aWWtuiMN0ljS9y3YQwIDAQAB";
const WEAK_RSA_PRIVATE: &str = "\
    MIICdQIBADANBgkqhkiG9w0BAQEFAASCAl8wggJbAgEAAoGBALxsDbfCTLdFL98p\
    4KMzpHhIEI2JzHnjPHzUMNvZcLYHZJ8N0jzmpGb/N4n/zb9nTZ4bPvi6Ec/hfaCR\
    CqKpzuqMVJaQ8ot/QMP+OkDZJQm9iO5t8hZxzZBlLu1Q7Ps0U5A8BbDxPzzezdkM\
    hp0ofWrY6INpZa26Iw3SWNL3LdhDAgMBAAECgYBA2AbYiJuSLtNMv8K5J5qgclyP\
    +S5PfC5i3zt5TZmGa4DrY/xITS+i6o4Yhdou1sRVdxbyzkY2/mkXixLX7Axy//bv\
    KaDq8NzotLQJ05Z4UNHuBhOIWs8cpToSFBNELyuvJiV21kC/5/jIhLSxxOWnyFrx\
    wWOROa9RxAE0gAYgkQJBAO3OC2QFPLKyzdoGXN6kRoTPlBQTO2LGS2gCmRcu2mFs\
    QtOS54ka7xOzvAqzFcwci7baXqPZ798QX2Gd+g4V1O0CQQDK1rvXF+N4iiFBUdmV\
    7xF1IPlH/LPlPeT7dmNGU5bRrd1yv2oWlOBvIdN78b0Ns/j3e4QilSIFeO7rSC2v\
    YWvvAkAPTxNmpfupWV9tKLmzz4mGpUJYJIDPNArIsFogpvCCExEeQ7fKGMTJVOnH\
    Go5NrIzGAbrT+4S4rHonc58UZw1lAkBJyEh1mkPtEdm85+gM6PRhtcfXjq1lYtlL\
    OyorZ7aBuQvHdKdDZY4p/pTuDeXl+SRD6ZML/VFtyiqmPRAZLofTAkALicnjV9rC\
    YsiQFWfDInOHg58ICaqKoeqlj7tI9WzN+kZgy95SO/EMpKiIPN3Pt4cgAgVU63fg\
    ZztkIxUIPEzp";
