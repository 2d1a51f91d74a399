//! What a server says when it greets, without the protocol's own marks (RFC 959, 1939, 3977, 5321, 9051).
//!
//! Fields: `ftp.greeting`, `smtp.greeting`, `pop3.greeting`, `imap.greeting`, `nntp.greeting`: the text after code or tag,
//! lines joined by line feeds. A greeting with code 220 that names neither mail nor files is both.

/// More of a greeting is not looked at.
const MAX_GREETING: usize = 4096;

pub(super) fn decode(reply: &[u8], add: &mut dyn FnMut(&str, &[u8])) {
    let reply = reply.get(..MAX_GREETING).unwrap_or(reply);
    if let Some(text) = after(reply, b"+OK") {
        add("pop3.greeting", text);
    } else if let Some(text) = after(reply, b"* OK").or_else(|| after(reply, b"* PREAUTH")) {
        add("imap.greeting", text);
    } else if reply.starts_with(b"220") {
        let text = without_code(reply);
        let says = |words: &[&[u8]]| {
            words.iter().any(|word| text.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word)))
        };
        let (mail, files) = (says(&[b"smtp", b"mail"]), says(&[b"ftp"]));
        if mail || !files {
            add("smtp.greeting", &text);
        }
        if files || !mail {
            add("ftp.greeting", &text);
        }
    } else if reply.starts_with(b"200 ") || reply.starts_with(b"201 ") {
        add("nntp.greeting", &without_code(reply));
    }
}

/// The rest of the first line after a mark and a blank.
fn after<'a>(reply: &'a [u8], mark: &[u8]) -> Option<&'a [u8]> {
    let rest = reply.strip_prefix(mark)?.strip_prefix(b" ")?;
    Some(rest.split(|&byte| byte == b'\n').next().unwrap_or_default().trim_ascii_end())
}

/// All lines without their three digits and the mark behind them.
fn without_code(reply: &[u8]) -> Vec<u8> {
    let lines =
        reply.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii_end).filter(|line| !line.is_empty());
    let texts = lines.map(|line| match line {
        [a, b, c, b' ' | b'-', text @ ..] if [a, b, c].iter().all(|byte| byte.is_ascii_digit()) => text,
        other => other,
    });
    texts.collect::<Vec<_>>().join(&b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(reply: &[u8]) -> Vec<(String, String)> {
        let mut fields = Vec::new();
        decode(reply, &mut |name, value| {
            fields.push((name.to_owned(), String::from_utf8_lossy(value).into_owned()));
        });
        fields
    }

    #[test]
    fn the_text_of_greetings_is_read() {
        for (reply, expected) in [
            (&b"220 mx.example ESMTP Postfix\r\n"[..], vec![("smtp.greeting", "mx.example ESMTP Postfix")]),
            (b"220-Hello\r\n220 FTP ready\r\n", vec![("ftp.greeting", "Hello\nFTP ready")]),
            (b"220 ready\r\n", vec![("smtp.greeting", "ready"), ("ftp.greeting", "ready")]),
            (b"+OK Dovecot ready.\r\n", vec![("pop3.greeting", "Dovecot ready.")]),
            (b"* OK IMAP4rev1 x\r\nmore", vec![("imap.greeting", "IMAP4rev1 x")]),
            (b"201 news.example INN\r\n", vec![("nntp.greeting", "news.example INN")]),
            (b"SSH-2.0-x\r\n", vec![]),
            (b"220", vec![("smtp.greeting", "220"), ("ftp.greeting", "220")]),
        ] {
            let expected: Vec<_> =
                expected.into_iter().map(|(name, text)| (name.to_owned(), text.to_owned())).collect();
            assert_eq!(fields(reply), expected);
        }
    }
}
