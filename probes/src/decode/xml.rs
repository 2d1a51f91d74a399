//! Finds the text of elements in XML that a stranger wrote: no tree, no entities but the five, no recursion.

/// The text of the first element of that local name, trimmed and at most 256 bytes long.
pub(crate) fn text(document: &[u8], name: &str) -> Option<Vec<u8>> {
    let mut rest = document;
    loop {
        let (_, tail) = split_at(rest, b'<')?;
        let (tag, after) = split_at(tail, b'>')?;
        rest = after;
        let word = tag.split(|byte| byte.is_ascii_whitespace() || *byte == b'/').next().unwrap_or_default();
        let local = word.rsplit(|&byte| byte == b':').next().unwrap_or_default();
        if local.eq_ignore_ascii_case(name.as_bytes()) && !tag.ends_with(b"/") {
            let text = after.split(|&byte| byte == b'<').next().unwrap_or_default().trim_ascii();
            let text = unescape(text.get(..256).unwrap_or(text));
            return (!text.is_empty()).then_some(text);
        }
    }
}

fn split_at(bytes: &[u8], mark: u8) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|&byte| byte == mark)?;
    let (head, tail) = bytes.split_at_checked(at)?;
    Some((head, tail.get(1..)?))
}

fn unescape(text: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(text);
    let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&apos;", "'");
    text.replace("&amp;", "&").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_found_by_local_name() {
        let document = b"<?xml version='1.0'?><r xmlns:a='u'><a:Model x='1'> A &amp; B </a:Model><empty/><name></name></r>";
        assert_eq!(text(document, "model").as_deref(), Some(&b"A & B"[..]));
        assert_eq!(text(document, "name"), None);
        assert_eq!(text(document, "other"), None);
        assert_eq!(text(b"<model", "model"), None);
    }
}
