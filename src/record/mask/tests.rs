use proptest::prelude::*;

use super::*;
use crate::secret::Secret;

fn masked(text: &str) -> String {
    Mask::default().apply(text).into_owned()
}

#[test]
fn secrets_of_known_forms_are_masked_and_the_rest_stays() {
    for (text, masked) in [
        ("use sk-ant-api03-abcDEF0123456789_xyz now", "use sk-[masked] now"),
        (r#"{"k":"sk-proj-0123456789abcdef"}"#, r#"{"k":"sk-[masked]"}"#),
        ("sk-a-b-sk-123 sk-0123456789abcdef", "sk-a-b-sk-123 sk-[masked]"),
        ("sk-abcdefghijklmnopqrstuvwxyzABCDEF", "sk-[masked]"),
        ("AIzaSyA0123456789abcdefghijklmnopqrstu", "AIza[masked]"),
        ("AKIAIOSFODNN7EXAMPLE", "AKIA[masked]"),
        ("ghp_0123456789abcdefghijABCDEFGHIJ, xoxb-123456789012-abc", "ghp_[masked], xoxb-[masked]"),
        ("ghs_abcdefghijklmnopqrstuvwxyzABCDEFGHIJ", "ghs_[masked]"),
        ("glpat-abcdefghijklmnopqrst sk_live_abcdefghijklmnopqrstuvwx", "glpat-[masked] sk_live_[masked]"),
        ("ya29.a0ARrdaM-abcdefghijkl GOCSPX-abcdefghijklmnopqrstuvwx", "ya29.[masked] GOCSPX-[masked]"),
        (
            "https://hooks.slack.com/services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX",
            "https://hooks.slack.com/services/[masked]",
        ),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc-_9", "eyJ[masked]"),
        ("bz-0123456789abcdefghijklmnopq", "bz-[masked]"),
        ("AC0123456789abcdef0123456789abcdef:SKfedcba9876543210fedcba9876543210/", "AC[masked]:SK[masked]/"),
        ("AKIAIOSFODNN7EXAMPLE,wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY\n", "AKIA[masked],[masked]\n"),
    ] {
        assert_eq!(self::masked(text), masked);
    }
}

#[test]
fn credentials_are_masked_wherever_something_says_that_they_are_some() {
    for (text, masked) in [
        ("Authorization: Bearer abc.def/0123456789+x==", "Authorization: Bearer [masked]"),
        ("authorization: basic dXNlcjpwYXNz", "authorization: basic [masked]"),
        (r#"{\"Authorization\": \"Basic dXNlcjpwYXNz\"}"#, r#"{\"Authorization\": \"Basic [masked]\"}"#),
        ("postgres://app:s3cret@db.example/x", "postgres://app:[masked]@db.example/x"),
        ("redis://:s3cret@cache:6379", "redis://:[masked]@cache:6379"),
        ("api_key=0123456789abcdef0123456789abcdef&x=1", "api_key=[masked]&x=1"),
        (r#"{"api_key":"0123456789abcdef0123456789abcdef"}"#, r#"{"api_key":"[masked]"}"#),
        (r#""{\"apiKey\":\"0123456789abcdef01234567\",\"n\":1}""#, r#""{\"apiKey\":\"[masked]\",\"n\":1}""#),
        ("X-Api-Key: 550e8400-e29b-41d4-a716-446655440000", "X-Api-Key: [masked]"),
        ("password: hunter2\nnext", "password: [masked]\nnext"),
        (r#"{"password":"correcthorsebatterystaple"}"#, r#"{"password":"[masked]"}"#),
        (r"export DB_PASSWORD='tr0ub4dor&3'\nrun", r"export DB_PASSWORD='[masked]'\nrun"),
        ("mysql --password s3cr3tpw -u root", "mysql --password [masked] -u root"),
        ("<password>s3cr3tpw</password>", "<password>[masked]</password>"),
        (
            "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            "aws_secret_access_key = [masked]",
        ),
        ("GET /x?token=f00ba4f00ba4f00ba4 HTTP/1.1", "GET /x?token=[masked] HTTP/1.1"),
        ("Authorization: Token 9944b09199c62bcf", "Authorization: Token [masked]"),
        (r#".header("authorization", "token abcd1234==")"#, r#".header("authorization", "token [masked]")"#),
        (
            r#"Authorization: Token token="abc123def456abc123", nonce="1""#,
            r#"Authorization: Token token="[masked]", nonce="1""#,
        ),
        ("curl -su ada:hunter https://x.example", "curl -su ada:[masked] https://x.example"),
        ("curl -uada:hunter -U 'proxy:a word'", "curl -uada:[masked] -U 'proxy:[masked]'"),
        (
            "curl -H 'Authorization: Token 9944b09199c62bcf' --user=ada:hunter",
            "curl -H 'Authorization: Token [masked]' --user=ada:[masked]",
        ),
        (
            r#"{"run":"curl https://x.example \\\n  --user \"ada:hunter\"\nls"}"#,
            r#"{"run":"curl https://x.example \\\n  --user \"ada:[masked]\"\nls"}"#,
        ),
        (r#"run(["curl", "-u", "ada:hunter"])"#, r#"run(["curl", "-u", "ada:[masked]"])"#),
        ("Cookie: theme=\"dark\"; sid=0123456; a\nX: 1", "Cookie: [masked]; a\nX: 1"),
        ("curl -H 'cookie: sid=0123456' -v", "curl -H 'cookie: [masked]' -v"),
        (r#"{"cookie":"sid=\"0123456\"; b=c","n":1}"#, r#"{"cookie":"[masked]","n":1}"#),
        (r#".header("Cookie", "sid=0123456")"#, r#".header("Cookie", "[masked]")"#),
        ("Set-Cookie: sid=0123456; Path=/; HttpOnly", "Set-Cookie: sid=[masked]; Path=/; HttpOnly"),
        (r#"{"set-cookie":["sid=0123456; Path=/"]}"#, r#"{"set-cookie":["sid=[masked]; Path=/"]}"#),
        (
            r"-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\n",
            r"-----BEGIN RSA PRIVATE KEY-----[masked]-----END RSA PRIVATE KEY-----\n",
        ),
        ("-----BEGIN PRIVATE KEY-----\nMIIE", "-----BEGIN PRIVATE KEY-----[masked]"),
        (
            r#"{"a":"-----BEGIN PRIVATE KEY-----\nMIIE\nabc=\n","b":"MIIE"}"#,
            r#"{"a":"-----BEGIN PRIVATE KEY-----[masked]\n","b":"MIIE"}"#,
        ),
        (
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nMIIE\n\nSo it is.",
            "-----BEGIN RSA PRIVATE KEY-----[masked]\n\nSo it is.",
        ),
        (
            "\"-----BEGIN EC PRIVATE KEY-----\\n\" +\n  \"MHcCAQEE\\n\" +\n  \"abc=\\n\" +\n  \"-----END EC PRIVATE KEY-----\"",
            "\"-----BEGIN EC PRIVATE KEY-----[masked]-----END EC PRIVATE KEY-----\"",
        ),
        (
            "-----BEGIN PGP PRIVATE KEY BLOCK-----\nlQ\n-----END PGP PRIVATE KEY BLOCK-----",
            "-----BEGIN PGP PRIVATE KEY BLOCK-----[masked]-----END PGP PRIVATE KEY BLOCK-----",
        ),
    ] {
        assert_eq!(self::masked(text), masked);
    }
}

#[test]
fn escapes_of_json_hide_no_secret() {
    for (text, masked) in [
        (r"one\nsk-0123456789abcdef0\ntwo", r"one\nsk-[masked]\ntwo"),
        (r"one\u000ask-0123456789abcdef0", r"one\u000ask-[masked]"),
        (r"one\u2028sk-0123456789abcdef0", r"one\u2028sk-[masked]"),
        (r#""{\"k\":\"sk-0123456789abcdef0\"}""#, r#""{\"k\":\"sk-[masked]\"}""#),
        (r#""{\\\"k\\\":\\\"sk-0123456789abcdef0\\\"}""#, r#""{\\\"k\\\":\\\"sk-[masked]\\\"}""#),
        (r"\u0073k-0123456789abcdef0 ok", r"\u0073k-[masked] ok"),
        (r"\\u0073\\u006b-0123456789\\u0061bcdef0 ok", r"\\u0073\\u006b-[masked] ok"),
        (r"Bearer abc.def\/0123456789ab", "Bearer [masked]"),
        ("?q=key%20sk-0123456789abcdef0&a%3Dsk-0123456789abcdef0", "?q=key%20sk-[masked]&a%3Dsk-[masked]"),
        ("\u{1b}[32msk-0123456789abcdef0\u{1b}[0m", "\u{1b}[32msk-[masked]\u{1b}[0m"),
        (r"\u001b[1;32msk-0123456789abcdef0\u001b[0m", r"\u001b[1;32msk-[masked]\u001b[0m"),
        (r"password: gr\u00f6\u00dfe123!x next", r"password: [masked] next"),
        (r#"password: "ab\"cd1234" next"#, r#"password: "[masked]" next"#),
        (r#""password: \"ab\\\"cd1234\" next""#, r#""password: \"[masked]\" next""#),
        (r"\/\/ redis:\/\/:s3cret@cache", r"\/\/ redis:\/\/:[masked]@cache"),
    ] {
        assert_eq!(self::masked(text), masked);
    }
}

#[test]
fn a_value_whose_quote_is_not_closed_on_its_line_ends_as_one_without() {
    let text = r#"invalid body: password="hunter22 is"#;

    assert_eq!(masked(text), r#"invalid body: password="[masked] is"#);
    assert_eq!(masked(&format!("{text}\nmore")), format!("{}\nmore", masked(text)));
}

#[test]
fn what_is_no_secret_is_not_masked() {
    let image =
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
    for text in [
        "",
        "a task-force-of-2026-and-its-members",
        "sk-learn-is-a-library-of-python",
        "Bearer of good news, 1234567890",
        "basic authentication of 2 users, bearer tokens",
        "-----BEGIN CERTIFICATE-----\nMIIE\n-----END CERTIFICATE-----",
        "sk-123 AIza eyJ hf_ größe",
        "550e8400-e29b-41d4-a716-446655440000",
        "commit 3b18e512dba79e4c8300dd08aeb37f8e728b8dad",
        "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        r#"{"usage":{"prompt_tokens":123456789,"token_ids":[1]},"max_tokens":4096}"#,
        r#"{"next_page_token":"0123456789abcdef0123456789"}"#,
        r#"{"type":"object","properties":{"password":{"type":"string"},"token":{"type":"string"}}}"#,
        "password: string; // at least 8 characters",
        "Your password: please choose one. The secret: practise.",
        "const token = await authenticationService.getToken(user1);",
        "password = os.environ[\"DB_PASSWORD_2\"]",
        "api_key: ${OPENAI_API_KEY_2} token: {{token_0123456789abcdef}}",
        "see https://example.com:8443/@user/a:b@c and mail a@b.example",
        "secret: /run/secrets/api-key-0123456789",
        "PWD=/Users/Me/project2/src",
        "const password = process.env.PASSWORD_2;",
        "tokenizer.pad_token = tokenizer.eos_token_v2abc1234",
        "npm_package_version_abcdefghijklmnopqr hf_model_name_with_1234abcd5678",
        "xai-grok-2-vision-1212abcdefg SG.VersionedEndpointControllerFactoryBuilderThing",
        r#"{"password":"\u8bf7\u8f93\u5165","text":"password: \u8bf7\u8f93\u5165\u5bc6\u7801"}"#,
        r#"{"text":"PEM files begin with -----BEGIN PRIVATE KEY----- and then base64; how","n":1}"#,
        "Between -----BEGIN PRIVATE KEY----- and -----END PRIVATE KEY----- there is base64.",
        r"C:\new\table\r8_x \u00e4",
        "Authorization: Token based access needs the header Authorization: Token <token>",
        "curl up with a book -u like: this one; docker run -u 1000:1000, curl -u $USER:$PASSWORD",
        "curl -sS -d user:data --user-agent a:b --url http://x.example:8080 -u ada\nls -u a:b",
        "A cookie: a small file. Cookie: name=value; theme=dark, and Cookie: session=<your session>",
        "the header Set-Cookie: says which cookies: their names; document.cookie = readCookie(name)",
        "AC0123456789ABCDEF0123456789ABCDEF SK0123456789abcdef0123456789abcdef0 skip the account ac01",
        image,
    ] {
        assert_eq!(masked(text), text);
    }
    let data = format!("data:image/png;base64,{image}");
    assert_eq!(masked(&data), data);
}

#[test]
fn known_secrets_are_masked_word_for_word_also_when_others_have_taken_their_place() {
    let known = KnownSecrets::new([
        Secret::new("correct horse"),
        Secret::new("sk-0123456789abcdef"),
        Secret::new("none"),
    ]);
    let mask = Mask::default().known(known.clone());

    assert_eq!(mask.apply("a correct horse, sk-0123456789abcdef, none"), "a [masked], [masked], none");
    assert_eq!(mask.apply(r"a correct\u0020horse"), "a [masked]");

    known.replace([Secret::new("battery staple")]);
    assert_eq!(mask.apply("a correct horse, battery staple"), "a [masked], [masked]");
    known.replace((0..1_001).map(|number| Secret::new(format!("another secret {number:04}"))));
    known.replace([]);
    assert_eq!(mask.apply("another secret 0000, another secret 1000"), "[masked], another secret 1000");
    assert_eq!(mask.apply("a correct horse"), "a correct horse");
    assert!(!format!("{mask:?}").contains("staple"));
}

#[test]
fn where_the_end_is_missing_nothing_is_left_of_what_may_have_been_a_secret() {
    let mask = Mask::default();

    assert_eq!(mask.apply_to_cut("a key sk-0123"), "a key ");
    let known = Mask::default().known(KnownSecrets::new([Secret::new("correct horse")]));
    assert_eq!(known.apply_to_cut("it is a correct ho"), "it is a ");
    assert_eq!(mask.apply_to_cut("data:image/png;base64,iVBORw0KGgoA"), "data:image/png;base64,");
}

#[test]
fn of_what_was_not_said_to_its_end_only_the_beginning_of_a_secret_is_masked() {
    let known = KnownSecrets::new([Secret::new("correct horse")]);
    let mask = Mask::default().known(known);

    for (text, masked) in [
        ("the key is sk-01", Some("the key is sk-[masked]")),
        ("Authorization: Bearer ab", Some("Authorization: Bearer [masked]")),
        ("curl -u ada:hun", Some("curl -u ada:[masked]")),
        ("Cookie: sid=01", Some("Cookie: [masked]")),
        ("password: hun", Some("password: [masked]")),
        ("redis://app:s3c", Some("redis://app:[masked]")),
        ("eyJhbGci", Some("eyJ[masked]")),
        ("AKIAIOSFODNN7EXAMPLE wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLE", Some("AKIAIOSFODNN7EXAMPLE [masked]")),
        ("it is correct ho", Some("it is [masked]")),
        ("the last wor", None),
        ("see https://example.com/a", None),
        ("42", None),
        ("", None),
    ] {
        let unended = mask.apply_to_unended(&[text]).map(|parts| parts.concat());
        assert_eq!(unended.as_deref(), masked, "{text}");
    }
}

#[cfg(feature = "cel")]
#[test]
fn patterns_of_ones_own_are_masked_too() {
    let mask = Mask::default().pattern(r"\b\d{3}-\d{2}-\d{4}\b").unwrap();

    assert_eq!(mask.apply("it is 078-05-1120, and $1"), "it is [masked], and $1");
    assert!(Mask::default().pattern("(").is_err());
}

#[test]
fn what_looks_like_many_secrets_takes_no_longer_than_other_text() {
    for piece in [
        "sk-",
        "token=",
        "curl -u ",
        "cookie=c=b;",
        "cookie=$",
        "-----BEGIN ",
        "://a:",
        "bearer :",
        "AKIA ",
        "\\",
        "password\\\\\"",
    ] {
        let time = |bytes: usize| {
            let text = piece.repeat(bytes / piece.len());
            let began = std::time::Instant::now();
            assert!(masked(&text).len() <= text.len());
            began.elapsed().as_secs_f64()
        };

        // Eight times the text takes eight times as long, and not sixty-four times; others may be at work here too.
        let grew: Vec<_> =
            (0..5).map(|_| time(1 << 17) / time(1 << 14)).take_while(|times| *times > 24.0).collect();

        assert!(grew.len() < 5, "{piece}: {grew:?}");
    }
}

proptest! {
    #[test]
    fn any_text_is_taken_and_masked_only_once(text in r#"(sk-|\\u00[0-7][0-9a-f]|\\|"|=|:|password|token|authorization|curl -u|cookie|set-|;|[a-z0-9]{0,20}|ä| |@|://){0,20}"#) {
        let masked = masked(&text);

        prop_assert_eq!(&self::masked(&masked), &masked);
    }

    #[test]
    fn a_key_is_masked_whatever_stands_around_it(before in r"[ -/:-@\[-`{-~]", key in "[A-Za-z0-9]{24,40}", after in r#"[ "',;)\n]"#) {
        let text = format!("{before}sk-{key}{after}");

        prop_assert!(!masked(&text).contains(&key));
    }
}
