//! When two paths are the same: percent-encoding in its one canonical form.
//!
//! `/%65cho` and `/echo` name the same resource (RFC 3986 §6.2.2), and proxies and libraries turn
//! one into the other as they like. `%2F` and `/` do not, nor does any other reserved character.

use std::borrow::Cow;

/// The path with every unreserved character as itself, and everything else that is no part of a
/// URL's grammar as `%XX` in upper case. A `%` without two hexadecimal digits stays what it is.
///
/// Source: RFC 3986 §2.1, §2.3, §6.2.2.
pub fn canonical(path: &str) -> Cow<'_, str> {
    if path.bytes().all(|byte| byte != b'%' && is_path_byte(byte)) {
        return Cow::Borrowed(path);
    }
    let bytes = path.as_bytes();
    let mut canonical = String::with_capacity(path.len());
    let mut index = 0;
    while let Some(&byte) = bytes.get(index) {
        let decoded = bytes.get(index..index + 3).and_then(decode);
        index += if decoded.is_some() { 3 } else { 1 };
        match decoded {
            Some(decoded) if is_unreserved(decoded) => canonical.push(char::from(decoded)),
            Some(decoded) => encode(decoded, &mut canonical),
            None if byte == b'%' || is_path_byte(byte) => canonical.push(char::from(byte)),
            None => encode(byte, &mut canonical),
        }
    }
    Cow::Owned(canonical)
}

fn decode(triple: &[u8]) -> Option<u8> {
    let &[b'%', high, low] = triple else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? << 4 | digit(low)?).ok()
}

fn encode(byte: u8, into: &mut String) {
    let digit = |nibble: u8| char::from(b"0123456789ABCDEF"[usize::from(nibble)]);
    into.extend(['%', digit(byte >> 4), digit(byte & 0xF)]);
}

const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Whether the byte may stand in a path as itself (RFC 3986 §3.3).
const fn is_path_byte(byte: u8) -> bool {
    is_unreserved(byte)
        || matches!(
            byte,
            b'/' | b':'
                | b'@'
                | b'!'
                | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b','
                | b';'
                | b'='
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_paths_have_one_form() {
        for (path, expected) in [
            ("/echo", "/echo"),
            ("/%65cho", "/echo"),
            ("/%65%63%68%6F", "/echo"),
            ("/%7Ejo", "/~jo"),
            ("/%7ejo", "/~jo"),
            ("/a%2fb", "/a%2Fb"),
            ("/a%2Bb", "/a%2Bb"),
            ("/a+b", "/a+b"),
            ("/%2565cho", "/%2565cho"),
            ("/%e9%c3", "/%E9%C3"),
            ("/bücher", "/b%C3%BCcher"),
            ("/a|b", "/a%7Cb"),
            ("/%", "/%"),
            ("/%4", "/%4"),
            ("/%zz%41", "/%zzA"),
            ("/%%41", "/%A"),
            ("/%2e%2E/x", "/../x"),
            ("/%00", "/%00"),
            ("/ü%", "/%C3%BC%"),
            ("", ""),
        ] {
            assert_eq!(canonical(path), expected, "{path}");
        }
        assert!(matches!(canonical("/echo:@!$&'()*+,;=-._~"), Cow::Borrowed(_)));
    }
}
