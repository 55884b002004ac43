use std::{
    fmt,
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use ring::{
    rand::SystemRandom,
    signature::{RSA_PKCS1_SHA256, RsaKeyPair},
};
use serde::Serialize;

use super::SCOPE;
use crate::{BoxError, Error, Kind, secret::Secret};

/// The longest that Google accepts, in seconds.
const LIFETIME: u64 = 3600;

/// By how many seconds the clock of this machine may be ahead of Google's, which refuses what is said to come
/// from the future.
const AHEAD: u64 = 10;

/// The key by which a service account proves who it is.
pub(super) struct Key {
    pair: RsaKeyPair,
    id: Option<String>,
}

impl Key {
    /// A private key, PKCS#8 in PEM, and the name under which Google knows it.
    pub(super) fn new(pem: &Secret, id: Option<String>) -> Result<Self, BoxError> {
        let lines = pem.expose().lines().map(str::trim);
        let base64: String = lines.filter(|line| !line.starts_with("-----")).collect();
        let wrong = "private_key: not an RSA key in PEM (PKCS#8)";
        let der = BASE64_STANDARD.decode(base64).map_err(|_| wrong)?;
        let pair = RsaKeyPair::from_pkcs8(&der).map_err(|_| wrong)?;
        Ok(Self { pair, id })
    }

    /// Says, signed, that `email` asks `audience` for a token.
    pub(super) fn assertion(&self, email: &str, audience: &str, now: SystemTime) -> Result<String, Error> {
        #[derive(Serialize)]
        struct Header<'a> {
            alg: &'static str,
            typ: &'static str,
            #[serde(skip_serializing_if = "Option::is_none")]
            kid: Option<&'a str>,
        }
        #[derive(Serialize)]
        struct Claims<'a> {
            iss: &'a str,
            scope: &'static str,
            aud: &'a str,
            iat: u64,
            exp: u64,
        }
        let now = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let iat = now.saturating_sub(AHEAD);
        let header = Header { alg: "RS256", typ: "JWT", kid: self.id.as_deref() };
        let claims = Claims { iss: email, scope: SCOPE, aud: audience, iat, exp: iat + LIFETIME };
        let text = format!("{}.{}", part(&header)?, part(&claims)?);
        let mut signature = vec![0; self.pair.public().modulus_len()];
        self.pair
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature)
            .map_err(|_| Error::new(Kind::UpstreamAuth, "the key of the service account can't sign"))?;
        Ok(format!("{text}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature)))
    }
}

fn part(value: &impl Serialize) -> Result<String, Error> {
    let json = serde_json::to_vec(value)
        .map_err(|error| Error::new(Kind::Internal, "a token can't be written").with_source(error))?;
    Ok(BASE64_URL_SAFE_NO_PAD.encode(json))
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("id", &self.id).finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use super::*;

    /// Made for this test with `openssl genpkey -algorithm RSA`; nobody else knows it.
    pub(in crate::sign::google) const PEM: &str = "-----BEGIN PRIVATE KEY-----
MIIEvAIBADANBgkqhkiG9w0BAQEFAASCBKYwggSiAgEAAoIBAQCxPWJ4SO++UE/z
OBIeyxJiedl2K7TIUni2Th/WKbSC3Dp8JYrOqNsGvE/G7JzU0Z9+seNVHHnfR/Qp
LNnmMgwIRlz0zHHqRPW151BqCMWJIdhfQZYtJL8pTcNRRDhbYgi1BDls1YnWNaTv
j4l63uOvlilgOroie0ZUmadZuf3MdajmmlSgyW34035eiyPg3JsDciRMgnxFeJkj
wvo1nUs21Hm/lpb9qpY1NUPBnu2oSi2ck94ZkFtA7C+8A09fpWtf4z0fHeFYlLA9
WgXrX4yhzZbtVmyCLcQheijekoc6RZK0TFXZ2jfPFFFTOmj/BxSnuilKjfJNVlsA
kbiThc7RAgMBAAECggEAJdTdMaEZ4VTJt/fiMEX2yuPI5dce67pkzz7+PyugPuVs
q2alCgcTV0z3N1X2hNuosHWeeWKOZfk5Fdffu+m3VUXVniAMea2WB+mTqcptBaAe
i/iXKlQjZJjXZb+KywCyLJc1/bPXy8wgBE1uUjaEwYwrEUH/zI/lG3Y/uSCA2rTw
s8HoJKD0D+biFBS9WmoRlWPQn69INIS0vgHnOVGjRJdDu+3TXFbsPAIDrvTy8FMU
WJKVNoGk7b27DXy5mOmwMrMJpRNTYbFO2AyyWOF5QLNiXTOARQQxVHEPk5IUyZ7g
vydPc55C5zmesF3XRh7gKfQ74y+1O57M4v4w1Iv4NQKBgQDXGnQB79TQTTOcRBDR
gDTb8tIh4g5/nROeShag0oML6f+6PW3yT6YT6lr+BR42c7fu2jmzg8lge+z3vQZm
2AcFNLPhj+b/o8JoKs1cdKLXEcLW0BS46yHClRaEDulLK0IPC5KyeJxRhtinGxE4
YBSW81JCJm1iw73Hf614AqwMjQKBgQDS8Ae+rUHQDwY3BvWMgra5q/FLiiyLS3+i
XlEMeJEe4Z4Qp02N88KI2reB27rj2B8tmrXRm1aweybe0GmwZTDABpt3NZRXuuAZ
AaJyKJV61oczhjnKrPnfhoRM8aIG3o5Ga7S30XJphhxmdS7fzDvD6a4luuJhxXJp
GJZCUX00VQKBgCfnkmnhkjtqdw6gWfZjsGq1a2I5y7LE8yTEXdpL81+8c2KbjtAL
EqZTLbo+PNKhORgoh9fTtQIfO2DiQlPF89d1ZYGM7q+yM5ibiCmEwcjgVKMBSzba
+BJfEiRBl+oIBmNAJGDTmzxMpdiqXtF0kZ1HWpVHB7fw1D40Y3wGEuDpAoGAUd18
dAFUCIa8N8EIrZbRie/0fwfKT+lmSMLoG7nzQJP5v6bez5fqSSjxjYGU3/ax6wYf
SJFMLMQvCszCKAaty+kEj1iJER9i9/GNdVbQ5NK7uECAz2sgsyLG2AHzi0z21Nfa
VHkCOXgmL5GNNqhSDa/0uYn1cFKsG6PCNUzhFd0CgYBfrppzh2rHnMFh98GpGpRq
ykl3q/1eINjLfIDbvDNejod/tpH1MgqsLgyJU4K97zjyRgFDM9GEc+IZ1//v8Tab
nsGpKfSPMSS3/6EFmF2Z3P85jRtSHE9QoFEzHo7Dx5MrNltpVoDrl2Sf5mMQiomV
Apht0x9Jk0ZBgEERDlcVMA==
-----END PRIVATE KEY-----
";

    /// What `openssl dgst -sha256 -sign` makes of the same text with the same key.
    const SIGNED: &str =
        "i5Ga8BZxZcI44jl6-z4wQeNkaTwGMQM5uYk_H4f1qUatC472MpIfpHuch3Spt58W9CBSSaxRzqxJ27rSB-TfMK
cnLDV-bi-uazt497GpBUETHy0TcVbCTeUAi1EiKserjUu_t4mgoJHK9dycteoWkD1M6aSXGx5NPa7vOwLfsi5F
TucpdnTug71MbEoZORkBzAXxCRDJuxCT4TntHQp7vpbPhKeTpD9Dl8T8jYxGwAzZFGdA6NVeS0q_AGlfMAeNHD
3FHaFr8FURmpLH2WeP6-1gn9u9-SXm_525kMPhGGbFGfLMSPN8jS_eFjNlCG7QZoJhRvu5Z5wgJhoFZkyF6g";

    #[test]
    fn an_assertion_is_what_openssl_would_sign() {
        let key = Key::new(&Secret::new(PEM), Some("0123abcd".to_owned())).unwrap();
        let now = UNIX_EPOCH + Duration::from_secs(1_763_689_010);

        let assertion = key.assertion("sa@p.iam.gserviceaccount.com", super::super::TOKEN_URI, now).unwrap();

        let parts: Vec<&str> = assertion.split('.').collect();
        let text = |part| String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
        assert_eq!(text(parts[0]), r#"{"alg":"RS256","typ":"JWT","kid":"0123abcd"}"#);
        assert_eq!(
            text(parts[1]),
            r#"{"iss":"sa@p.iam.gserviceaccount.com","scope":"https://www.googleapis.com/auth/cloud-platform","aud":"https://oauth2.googleapis.com/token","iat":1763689000,"exp":1763692600}"#
        );
        assert_eq!(parts[2], SIGNED.replace('\n', ""));
    }
}
