//! Tokens that others issue, in the shapes in which they issue them: each profile with what passes and what must not,
//! and several issuers side by side.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::EncodingKey;
use muster::ids::LobbyId;
use muster::ticket::{
    Action, Algorithm, ClaimNames, Claims, GeneratedKey, Issuer, KeyHint, KeyId, KeyRing, Signer, TicketFault,
    TicketId, TicketPolicy, TokenKind, UnixSeconds, Verified, Verifier, generate_key,
};
use serde_json::{Map, Value, json};

const NOW: UnixSeconds = UnixSeconds(1_800_000_000);
const SITE_SECRET: &[u8] = b"django-insecure-0123456789-0123456789-0123456789";
const API_SECRET: &[u8] = b"09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7";

fn secret_ring(kid: &str, secret: &[u8]) -> KeyRing {
    let jwk = json!({ "kty": "oct", "kid": kid, "alg": "HS256", "k": URL_SAFE_NO_PAD.encode(secret) });
    KeyRing::from_text(&jwk.to_string(), &KeyHint::default()).unwrap()
}

/// A token as libraries write one that is signed with a shared secret: no `kid`.
fn hs256(secret: &[u8], claims: &Value) -> String {
    signed(secret, &json!({ "alg": "HS256", "typ": "JWT" }), claims)
}

fn signed(secret: &[u8], header: &Value, claims: &Value) -> String {
    muster::ticket::install_crypto();
    let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
    let message = format!("{}.{}", encode(header), encode(claims));
    let key = EncodingKey::from_secret(secret);
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, jsonwebtoken::Algorithm::HS256).unwrap();
    format!("{message}.{signature}")
}

fn issuer(name: &str, ring: KeyRing, policy: TicketPolicy) -> Issuer {
    Issuer { name: name.into(), ring, policy }
}

fn site() -> Issuer {
    issuer("site", secret_ring("s", SITE_SECRET), TicketPolicy::of(TokenKind::SimpleJwtAccess))
}

fn api() -> Issuer {
    issuer("api", secret_ring("a", API_SECRET), TicketPolicy::of(TokenKind::Plain))
}

fn with(mut object: Value, name: &str, value: Value) -> Value {
    object[name] = value;
    object
}

fn without(mut object: Value, name: &str) -> Value {
    object.as_object_mut().unwrap().remove(name);
    object
}

/// What djangorestframework-simplejwt 5.5 puts into an access token.
fn django_claims() -> Value {
    json!({
        "token_type": "access", "exp": NOW.0 + 300, "iat": NOW.0,
        "jti": "0f1c5a3f7a1d4e0d9a7d2c6b5e4f3a21", "user_id": "7",
    })
}

/// What the token endpoint of FastAPI's tutorial signs.
fn fastapi_claims() -> Value {
    json!({ "sub": "johndoe", "exp": NOW.0 + 1_800 })
}

fn judge(issuer: Issuer, token: &str) -> Result<Verified, TicketFault> {
    Verifier::of([issuer]).verify(token, NOW)
}

#[test]
fn an_access_token_of_simplejwt_opens_a_link_for_its_user() {
    let verified = judge(site(), &hs256(SITE_SECRET, &django_claims())).unwrap();
    assert_eq!((verified.player.as_str(), &*verified.issuer, verified.single_use), ("7", "site", false));
    assert_eq!(verified.facts.jti, TicketId::new("0f1c5a3f7a1d4e0d9a7d2c6b5e4f3a21").ok());
    let numbered = with(django_claims(), "user_id", json!(7));
    assert_eq!(judge(site(), &hs256(SITE_SECRET, &numbered)).unwrap().player, verified.player, "releases before 5.5");
}

#[test]
fn what_is_no_access_token_of_simplejwt_is_refused() {
    use TicketFault::{BadClaim, BadSignature, Expired, LifetimeTooLong, MissingClaim, WrongAudience, WrongType};
    for (what, claims, fault) in [
        ("a refresh token", with(django_claims(), "token_type", json!("refresh")), WrongType),
        ("a sliding token", with(django_claims(), "token_type", json!("sliding")), WrongType),
        ("no token type", without(django_claims(), "token_type"), WrongType),
        ("a token type that is no text", with(django_claims(), "token_type", json!(["access"])), WrongType),
        ("expired", with(with(django_claims(), "iat", json!(NOW.0 - 300)), "exp", json!(NOW.0 - 5)), Expired),
        ("ten days", with(django_claims(), "exp", json!(NOW.0 + 864_000)), LifetimeTooLong),
        ("without a user", without(django_claims(), "user_id"), MissingClaim("sub")),
        ("for another service", with(django_claims(), "aud", json!("billing")), WrongAudience),
        ("without iat", without(django_claims(), "iat"), MissingClaim("iat")),
        ("a user of half a number", with(django_claims(), "user_id", json!(7.5)), BadClaim("sub")),
        ("a user that is a list", with(django_claims(), "user_id", json!([7])), BadClaim("sub")),
        ("a user that is nobody", with(django_claims(), "user_id", Value::Null), BadClaim("sub")),
    ] {
        assert_eq!(judge(site(), &hs256(SITE_SECRET, &claims)).map(drop), Err(fault), "{what}");
    }
    assert_eq!(judge(site(), &hs256(API_SECRET, &django_claims())).map(drop), Err(BadSignature));
    let logout = signed(SITE_SECRET, &json!({ "alg": "HS256", "typ": "logout+jwt" }), &django_claims());
    assert_eq!(judge(site(), &logout).map(drop), Err(WrongType));
}

#[test]
fn a_token_of_a_fastapi_service_needs_its_subject_and_its_end_and_no_more() {
    let verified = judge(api(), &hs256(API_SECRET, &fastapi_claims())).unwrap();
    assert_eq!((verified.player.as_str(), verified.facts.jti, verified.single_use), ("johndoe", None, false));
    // Nobody knows when it was signed: as early as its issuer may have, so that a revocation never misses it.
    assert_eq!(verified.facts.issued_at, UnixSeconds(NOW.0 + 1_800 - 3_600));
    let jose = signed(API_SECRET, &json!({ "alg": "HS256" }), &fastapi_claims());
    assert!(judge(api(), &jose).is_ok(), "without typ");
    let dated = with(fastapi_claims(), "iat", json!(NOW.0 - 60));
    assert_eq!(judge(api(), &hs256(API_SECRET, &dated)).unwrap().facts.issued_at, UnixSeconds(NOW.0 - 60));
    for (what, claims, fault) in [
        ("no end", without(fastapi_claims(), "exp"), TicketFault::MissingClaim("exp")),
        ("no subject", without(fastapi_claims(), "sub"), TicketFault::MissingClaim("sub")),
        ("an hour, to the second", with(fastapi_claims(), "exp", json!(NOW.0 + 3_606)), TicketFault::LifetimeTooLong),
        ("an end with a fraction", with(fastapi_claims(), "exp", json!(1_800_000_060.5)), TicketFault::BadClaim("exp")),
        ("an audience that nobody asked for", with(fastapi_claims(), "aud", json!("x")), TicketFault::WrongAudience),
    ] {
        assert_eq!(judge(api(), &hs256(API_SECRET, &claims)).map(drop), Err(fault), "{what}");
    }
    let edge = with(fastapi_claims(), "exp", json!(NOW.0 + 3_605));
    assert!(judge(api(), &hs256(API_SECRET, &edge)).is_ok(), "an hour by a clock that is 5 s ahead");
}

#[test]
fn a_claim_that_is_not_mapped_means_nothing_and_a_mapped_one_binds() {
    let lobby = LobbyId(9).to_string();
    let claims =
        with(with(fastapi_claims(), "role", json!("admin")), "game", json!({ "lobby": lobby, "may": ["chat"] }));
    let plain = judge(api(), &hs256(API_SECRET, &claims)).unwrap();
    assert!(plain.grants.lobby.is_none() && plain.grants.allows(Action::Kick));
    let mut mapped = api();
    mapped.policy.claims =
        ClaimNames { lobby: Some("/game/lobby".into()), actions: Some("/game/may".into()), ..mapped.policy.claims };
    let bound = judge(mapped.clone(), &hs256(API_SECRET, &claims)).unwrap();
    assert!(bound.grants.lobby.is_some() && bound.grants.allows(Action::Chat) && !bound.grants.allows(Action::Kick));
    mapped.policy.claims.role = Some("role".into());
    let fault = judge(mapped, &hs256(API_SECRET, &claims)).map(drop);
    assert_eq!(fault, Err(TicketFault::BadClaim("role")), "a role that muster does not know is no role");
}

#[test]
fn single_use_asks_for_something_to_burn() {
    let mut once = api();
    once.policy.single_use = true;
    assert_eq!(
        judge(once.clone(), &hs256(API_SECRET, &fastapi_claims())).map(drop),
        Err(TicketFault::MissingClaim("jti"))
    );
    let named = with(fastapi_claims(), "jti", json!("n-1"));
    assert!(judge(once, &hs256(API_SECRET, &named)).unwrap().single_use);
    let unread = with(fastapi_claims(), "jti", json!(7));
    assert_eq!(judge(api(), &hs256(API_SECRET, &unread)).map(drop), Err(TicketFault::BadClaim("jti")));
}

/// An OpenID Connect provider that signs with RSA, and what it is asked for.
fn provider(key: &GeneratedKey) -> (Signer, Issuer) {
    let kid = KeyHint { kid: KeyId::new("2026-11").ok(), algorithm: None };
    let signer = Signer::from_text(&key.private, &kid).unwrap();
    let policy = TicketPolicy {
        issuer: Some("https://id.example/realms/play".into()),
        audience: Some("arena-game".into()),
        ..TicketPolicy::of(TokenKind::OidcAccess)
    };
    let ring = signer.ring().unwrap();
    (signer, issuer("id", ring, policy))
}

/// A Keycloak access token, by the provider's own signer; `more` replaces claims. The header says `typ` of a ticket, so
/// the policy of these tests asks for that in place of `at+jwt`.
fn keycloak(signer: &Signer, more: Value) -> String {
    let mut claims: Map<String, Value> = serde_json::from_value(json!({
        "typ": "Bearer", "azp": "page", "aud": ["arena-game", "account"], "preferred_username": "ada",
        "realm_access": { "roles": ["offline_access"] }, "scope": "openid profile", "sid": "d7f0",
    }))
    .unwrap();
    claims.extend(more.as_object().unwrap().clone());
    let claims = Claims {
        issuer: "https://id.example/realms/play".into(),
        audience: String::new(),
        player: "f:6b1c2d3e:1".into(),
        ticket_id: TicketId::new("onrtac:4f1f1c9c-53d5-4a44-a1c0-3a6a3a0f4b0e").unwrap(),
        issued_at: NOW,
        expires_at: UnixSeconds(NOW.0 + 300),
        more: claims,
    };
    signer.mint(&claims).unwrap().reveal().to_owned()
}

#[test]
fn an_access_token_of_an_openid_provider_passes_and_its_other_tokens_do_not() {
    use TicketFault::{WrongAudience, WrongIssuer, WrongType};
    let (signer, mut provider) = provider(&generate_key(Algorithm::Rs256).unwrap());
    provider.policy.typ = TicketPolicy::TYP.into();
    let judge = |more: Value| Verifier::of([provider.clone()]).verify(&keycloak(&signer, more), NOW);
    let verified = judge(json!({})).unwrap();
    assert_eq!((verified.player.as_str(), verified.name.as_deref()), ("f:6b1c2d3e:1", Some("ada")));
    assert!(!verified.single_use);
    for (what, more, fault) in [
        ("an ID token", json!({ "typ": "ID" }), WrongType),
        ("a refresh token", json!({ "typ": "Refresh" }), WrongType),
        ("Cognito's ID token", json!({ "typ": "Bearer", "token_use": "id" }), WrongType),
        ("for another client", json!({ "aud": "account" }), WrongAudience),
        ("of another realm", json!({ "iss": "https://id.example/realms/other" }), WrongIssuer),
        ("of a realm whose name begins so", json!({ "iss": "https://id.example/realms/play/" }), WrongIssuer),
    ] {
        assert_eq!(judge(more).map(drop), Err(fault), "{what}");
    }
}

#[test]
fn the_signature_says_whose_a_token_is_and_the_claims_of_another_do_not_help_it() {
    let mut other = api();
    (other.policy.issuer, other.policy.audience) = (Some("https://api.example".into()), Some("game".into()));
    let both = Verifier::of([site(), other]);
    let api_claims = json!({ "iss": "https://api.example", "aud": "game", "sub": "8", "exp": NOW.0 + 60 });
    assert_eq!(&*both.verify(&hs256(SITE_SECRET, &django_claims()), NOW).unwrap().issuer, "site");
    assert_eq!(&*both.verify(&hs256(API_SECRET, &api_claims), NOW).unwrap().issuer, "api");
    let as_api = both.verify(&hs256(SITE_SECRET, &api_claims), NOW).map(drop);
    assert!(as_api.is_err(), "the site signs what only the api may say");
    let as_site = both.verify(&hs256(API_SECRET, &django_claims()), NOW).map(drop);
    assert_eq!(as_site, Err(TicketFault::MissingClaim("iss")));
    let nobodys = both.verify(&hs256(b"nobody-nobody-nobody-nobody-nobody", &api_claims), NOW).map(drop);
    assert_eq!(nobodys, Err(TicketFault::BadSignature));
}

#[test]
fn two_issuers_may_have_keys_of_one_name_and_each_signs_for_itself() {
    let (site, api) = (secret_ring("k1", SITE_SECRET), secret_ring("k1", API_SECRET));
    let policy = TicketPolicy::of(TokenKind::Plain);
    let both = Verifier::of([issuer("site", site, policy.clone()), issuer("api", api, policy)]);
    let header = json!({ "alg": "HS256", "kid": "k1" });
    for (secret, name) in [(SITE_SECRET, "site"), (API_SECRET, "api")] {
        let verified = both.verify(&signed(secret, &header, &fastapi_claims()), NOW).unwrap();
        assert_eq!(&*verified.issuer, name);
    }
    let unknown = signed(SITE_SECRET, &json!({ "alg": "HS256", "kid": "k2" }), &fastapi_claims());
    assert_eq!(both.verify(&unknown, NOW).map(drop), Err(TicketFault::UnknownKey));
}

#[test]
fn no_issuer_names_a_player_of_another() {
    let prefixed = |name: &str, prefix: &str, secret: &[u8]| {
        let policy = TicketPolicy { player_prefix: prefix.into(), ..TicketPolicy::of(TokenKind::Plain) };
        issuer(name, secret_ring("k", secret), policy)
    };
    let both = Verifier::of([prefixed("a", "a", SITE_SECRET), prefixed("ab", "ab", API_SECRET), {
        prefixed("bare", "", b"0123456789-0123456789-0123456789")
    }]);
    let player = |secret: &[u8], sub: &str| {
        let token = hs256(secret, &with(fastapi_claims(), "sub", json!(sub)));
        both.verify(&token, NOW).map(|verified| verified.player.to_string())
    };
    assert_eq!(player(API_SECRET, "c"), Ok("abc".into()));
    assert_eq!(player(SITE_SECRET, "c"), Ok("ac".into()));
    assert_eq!(player(SITE_SECRET, "bc"), Err(TicketFault::BadClaim("sub")), "it would be a player of the other");
    assert_eq!(player(b"0123456789-0123456789-0123456789", "carol"), Ok("carol".into()));
    assert_eq!(player(b"0123456789-0123456789-0123456789", "ac"), Err(TicketFault::BadClaim("sub")));
    assert_eq!(player(API_SECRET, " c"), Err(TicketFault::BadClaim("sub")), "white space behind the prefix");
    assert_eq!(player(API_SECRET, &"x".repeat(62)), Ok(format!("ab{}", "x".repeat(62))));
    assert_eq!(player(API_SECRET, &"x".repeat(63)), Err(TicketFault::BadClaim("sub")), "65 bytes with the prefix");
}

#[test]
fn a_public_key_of_one_issuer_is_no_secret_of_any() {
    let key = generate_key(Algorithm::Rs256).unwrap();
    let (signer, provider) = provider(&key);
    let all = Verifier::of([site(), api(), provider]);
    let jwk = signer.key().public_jwk().unwrap();
    let n = URL_SAFE_NO_PAD.decode(jwk["n"].as_str().unwrap()).unwrap();
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(&n));
    let claims = json!({
        "iss": "https://id.example/realms/play", "aud": "arena-game", "sub": "eve", "exp": NOW.0 + 60, "iat": NOW.0,
        "token_type": "access", "user_id": "1", "jti": "x",
    });
    let mut tried = 0;
    for secret in [jwk.to_string().into_bytes(), key.public.clone().unwrap().into_bytes(), n, pem.into_bytes(), vec![]]
    {
        for header in [
            json!({ "alg": "HS256" }),
            json!({ "alg": "HS256", "kid": "2026-11" }),
            json!({ "alg": "RS256", "kid": "2026-11" }),
        ] {
            let fault = all.verify(&signed(&secret, &header, &claims), NOW).unwrap_err();
            let expected = [TicketFault::BadSignature, TicketFault::AlgorithmMismatch, TicketFault::UnknownKey];
            assert!(expected.contains(&fault), "{fault:?}");
            tried += 1;
        }
    }
    assert_eq!(tried, 15);
}

#[test]
fn no_spelling_of_none_opens_a_link_among_several_issuers() {
    let (_, provider) = provider(&generate_key(Algorithm::EdDsa).unwrap());
    let all = Verifier::of([site(), api(), provider]);
    let mut spellings = Vec::new();
    for mask in 0..16_u8 {
        let letters = "none"
            .char_indices()
            .map(|(at, letter)| if mask & (1 << at) != 0 { letter.to_ascii_uppercase() } else { letter });
        spellings.push(json!(letters.collect::<String>()));
    }
    spellings.extend([json!(""), Value::Null, json!([]), json!(["none"]), json!("none ")]);
    for alg in spellings {
        for kid in [None, Some("s"), Some("2026-11")] {
            let mut header = json!({ "alg": alg, "typ": "JWT" });
            if let Some(kid) = kid {
                header["kid"] = kid.into();
            }
            let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
            let message = format!("{}.{}", encode(&header), encode(&django_claims()));
            for signature in ["", "AAAA"] {
                assert!(all.verify(&format!("{message}.{signature}"), NOW).is_err(), "{header}");
            }
        }
    }
}

#[test]
fn each_issuer_has_bounds_of_its_own() {
    let short = TicketPolicy { max_lifetime: Duration::from_secs(60), ..TicketPolicy::of(TokenKind::Plain) };
    let both = Verifier::of([site(), issuer("api", secret_ring("a", API_SECRET), short)]);
    assert!(both.verify(&hs256(SITE_SECRET, &django_claims()), NOW).is_ok());
    let token = hs256(API_SECRET, &fastapi_claims());
    assert_eq!(both.verify(&token, NOW).map(drop), Err(TicketFault::LifetimeTooLong));
}
