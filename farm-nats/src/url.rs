//! The URL of NATS: where it is, and who we are if that stands in it.

use async_nats::ServerAddr;

use crate::access::AccessError;
use crate::identity::Identity;

/// Servers, and the credentials their URLs carried.
pub(crate) struct Servers {
    pub addresses: Vec<ServerAddr>,
    pub login: Option<Identity>,
}

/// The URL without user and password.
pub(crate) fn printable(url: &str) -> String {
    // What only looks like a scheme may hold a password.
    let is_scheme = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    url.split(',')
        .map(|url| {
            let Some((before, host)) = url.rsplit_once('@') else {
                return url.to_owned();
            };
            match before.split_once("://") {
                Some((scheme, _)) if is_scheme(scheme) => format!("{scheme}://{host}"),
                _ => host.to_owned(),
            }
        })
        .collect::<Vec<_>>()
        .join(",")
}

/// Splits credentials off: the client shows the addresses it connects to.
pub(crate) fn parse(url: &str) -> Result<Servers, AccessError> {
    let wrong = |cause: String| AccessError::Url(cause);
    let mut addresses = Vec::new();
    let mut logins: Vec<(String, Option<String>)> = Vec::new();
    for one in url.split(',').map(str::trim) {
        // Not with the text: there may be a password in it.
        let address: ServerAddr = one.parse().map_err(|error: std::io::Error| {
            wrong(format!(
                "{error}: write it like nats://nats:4222 or tls://nats:4222"
            ))
        })?;
        if address.is_websocket() {
            return Err(wrong(
                "WebSockets are not spoken: write nats:// or tls://".to_owned(),
            ));
        }
        if let Some(user) = address.username() {
            let password = address.password().map(decoded).transpose()?;
            let login = (decoded(user)?, password);
            if !logins.contains(&login) {
                logins.push(login);
            }
        }
        let shown = printable(one);
        let bare = shown.parse().map_err(|_| {
            wrong("it cannot be read without its user and password: encode '@' as %40".to_owned())
        })?;
        addresses.push(bare);
    }
    if logins.len() > 1 {
        return Err(wrong(
            "its servers name different users: give all of them the same".to_owned(),
        ));
    }
    let login = logins.pop().map(|login| match login {
        (user, Some(password)) => Identity::Password { user, password },
        (token, None) => Identity::Token(token),
    });
    Ok(Servers { addresses, login })
}

/// Undoes percent-encoding.
fn decoded(text: &str) -> Result<String, AccessError> {
    let undecodable = || AccessError::Url("its user or password is encoded wrongly".to_owned());
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|b| char::from(b).to_digit(16));
        let (high, low) = (digit(), digit());
        let code = high.zip(low).map(|(high, low)| high * 16 + low);
        let byte = code.and_then(|code| u8::try_from(code).ok());
        bytes.push(byte.ok_or_else(undecodable)?);
    }
    String::from_utf8(bytes).map_err(|_| undecodable())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_printed_without_its_password() {
        assert_eq!(
            printable("nats://me:secret@a:4222,nats://b:4222"),
            "nats://a:4222,nats://b:4222"
        );
        assert_eq!(printable("me:secret@a:4222"), "a:4222");
        assert_eq!(printable("nats:/me:secret@b://c@a"), "a");
    }

    #[test]
    fn an_encoded_password_is_decoded() {
        let servers = parse("nats://me:p%40ss%2Cword@a:4222").unwrap();
        let Some(Identity::Password { user, password }) = servers.login else {
            panic!("no password");
        };
        assert_eq!((user.as_str(), password.as_str()), ("me", "p@ss,word"));
        assert!(parse("nats://me:%zz@a").is_err());
    }

    #[test]
    fn a_user_alone_is_a_token() {
        let login = parse("nats://t0ken@a:4222").unwrap().login;
        assert!(matches!(login, Some(Identity::Token(token)) if token == "t0ken"));
    }
}
