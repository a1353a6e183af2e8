//! WebSocket frames as a client sees them: masked ones out, bare ones in.
//!
//! Pure bytes: the workload builds its templates here, the connection reads servers that do not
//! echo byte for byte here. It knows no socket and keeps no message.

/// Opcodes of RFC 6455 §5.2.
pub const TEXT: u8 = 0x1;
pub const BINARY: u8 = 0x2;
pub const CLOSE: u8 = 0x8;
pub const PING: u8 = 0x9;
pub const PONG: u8 = 0xA;

/// Bytes of an unmasked header for a payload of `payload_bytes` (RFC 6455 §5.2).
pub fn server_header_bytes(payload_bytes: usize) -> usize {
    match payload_bytes {
        0..=125 => 2,
        126..=0xFFFF => 4,
        _ => 10,
    }
}

/// Bytes of a whole masked frame on the wire.
pub fn client_frame_bytes(payload_bytes: usize) -> usize {
    server_header_bytes(payload_bytes) + 4 + payload_bytes
}

/// Appends one unfragmented frame; masked if there is a key.
pub fn write_frame(out: &mut Vec<u8>, opcode: u8, key: Option<[u8; 4]>, payload: &[u8]) {
    out.push(0x80 | opcode);
    let masked = if key.is_some() { 0x80 } else { 0 };
    match payload.len() {
        len @ 0..=125 => out.push(masked | len as u8),
        len @ 126..=0xFFFF => {
            out.push(masked | 126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            out.push(masked | 127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    match key {
        Some(key) => {
            out.extend_from_slice(&key);
            out.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        }
        None => out.extend_from_slice(payload),
    }
}

/// A server's frame header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub fin: bool,
    pub opcode: u8,
    pub payload_bytes: u64,
    pub header_bytes: usize,
}

impl Header {
    /// Close, Ping and Pong.
    pub fn is_control(self) -> bool {
        self.opcode & 0x8 != 0
    }
}

/// Reads the header at the front of `bytes`; `None` while it is incomplete. Fails on what no
/// server may send: reserved bits, a mask, a reserved opcode, a bad control frame, a length that is
/// not in its shortest form (RFC 6455 §5.1, §5.2, §5.5).
pub fn read_header(bytes: &[u8]) -> Result<Option<Header>, String> {
    let [first, second, rest @ ..] = bytes else { return Ok(None) };
    let (first, second) = (*first, *second);
    if first & 0x70 != 0 {
        return Err(format!("a frame with reserved bits {:#04x}", first & 0x70));
    }
    if second & 0x80 != 0 {
        return Err("a masked frame from the server".to_owned());
    }
    let opcode = first & 0x0F;
    if !matches!(opcode, 0..=2 | 8..=10) {
        return Err(format!("a frame with reserved opcode {opcode:#x}"));
    }
    let (payload_bytes, header_bytes) = match second {
        126 => match rest.first_chunk::<2>() {
            Some(len) => (u64::from(u16::from_be_bytes(*len)), 4),
            None => return Ok(None),
        },
        127 => match rest.first_chunk::<8>() {
            Some(len) => (u64::from_be_bytes(*len), 10),
            None => return Ok(None),
        },
        len => (u64::from(len), 2),
    };
    let header = Header { fin: first & 0x80 != 0, opcode, payload_bytes, header_bytes };
    if header.is_control() && (payload_bytes > 125 || !header.fin) {
        return Err("a control frame that is fragmented or longer than 125 bytes".to_owned());
    }
    if server_header_bytes(payload_bytes as usize) != header_bytes {
        return Err(format!("a length of {payload_bytes} not in its shortest form"));
    }
    Ok(Some(header))
}

/// What a Close frame says, for people.
pub fn describe_close(payload: &[u8]) -> String {
    match payload {
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            format!("close {code} {}", String::from_utf8_lossy(reason).escape_debug())
        }
        _ => "close without a code".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(opcode: u8, key: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        write_frame(&mut out, opcode, key, payload);
        out
    }

    #[test]
    fn builds_the_examples_of_rfc_6455_section_5_7() {
        assert_eq!(frame(TEXT, None, b"Hello"), b"\x81\x05Hello");
        let masked = frame(TEXT, Some([0x37, 0xfa, 0x21, 0x3d]), b"Hello");
        assert_eq!(masked, [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]);
        assert_eq!(frame(BINARY, None, &[0; 256])[..4], [0x82, 0x7E, 0x01, 0x00]);
        assert_eq!(frame(BINARY, None, &[0; 65536])[..10], [0x82, 0x7F, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn reads_what_it_builds_at_every_length_border() {
        for len in [0, 1, 125, 126, 127, 65_535, 65_536, 70_000] {
            let bytes = frame(BINARY, None, &vec![7; len]);
            let header = read_header(&bytes).unwrap().unwrap();
            assert_eq!(header.payload_bytes, len as u64);
            assert_eq!(header.header_bytes + len, bytes.len());
            assert_eq!(header.header_bytes, server_header_bytes(len));
            assert_eq!(client_frame_bytes(len), bytes.len() + 4);
            for cut in 0..header.header_bytes {
                assert_eq!(read_header(&bytes[..cut]), Ok(None), "cut at {cut} of {len}");
            }
        }
    }

    #[test]
    fn refuses_what_no_server_may_send() {
        for bad in [
            &[0xC1, 0x00][..],
            &[0x81, 0x80],
            &[0x83, 0x00],
            &[0x09, 0x00],
            &[0x89, 126, 0, 126],
            &[0x82, 126, 0, 125],
            &[0x82, 127, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF],
        ] {
            assert!(read_header(bad).is_err(), "{bad:02x?}");
        }
    }

    #[test]
    fn describes_a_close() {
        assert_eq!(describe_close(&[0x03, 0xE8]), "close 1000 ");
        assert_eq!(describe_close(b"\x03\xEAbad"), "close 1002 bad");
        assert_eq!(describe_close(&[]), "close without a code");
    }
}
