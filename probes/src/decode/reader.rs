//! Reads integers and slices from the front of foreign bytes; everything out of range is `None`.

/// What is left to read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    pub fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(count)?;
        self.0 = tail;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk()?;
        self.0 = tail;
        Some(*head)
    }

    pub fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub fn be16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub fn be32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub fn le16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub fn le32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    /// Everything up to the next NUL, which is skipped.
    pub fn text(&mut self) -> Option<&'a [u8]> {
        let end = self.0.iter().position(|&byte| byte == 0)?;
        let text = self.take(end)?;
        self.take(1)?;
        Some(text)
    }

    /// One BER element (X.690): its tag and content. Lengths of up to three bytes; no recursion.
    pub fn ber(&mut self) -> Option<(u8, Reader<'a>)> {
        let tag = self.u8()?;
        let length = match self.u8()? {
            short @ 0..=127 => usize::from(short),
            long @ 0x81..=0x84 => {
                let bytes = self.take(usize::from(long & 0x7f))?;
                bytes.iter().try_fold(0_usize, |sum, &byte| sum.checked_mul(256)?.checked_add(byte.into()))?
            }
            _ => return None,
        };
        Some((tag, Reader(self.take(length)?)))
    }

    /// The content of the next BER element, if it has this tag.
    pub fn ber_of(&mut self, tag: u8) -> Option<Reader<'a>> {
        self.ber().filter(|(found, _)| *found == tag).map(|(_, content)| content)
    }
}
