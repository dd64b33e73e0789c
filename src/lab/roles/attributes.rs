//! Netlink attributes: type, length, value, padded to four bytes; read with every bound checked.

/// The bytes after a message's header, under construction.
#[derive(Clone, Debug, Default)]
pub(super) struct Body(pub(super) Vec<u8>);

impl Body {
    /// Starts with the family's own fixed header.
    pub(super) fn new(header: &[u8]) -> Self {
        let mut body = Self(header.to_vec());
        body.pad();
        body
    }

    /// Appends an attribute.
    pub(super) fn attr(mut self, kind: u16, value: &[u8]) -> Self {
        self.0.extend_from_slice(&((4 + value.len()) as u16).to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.pad();
        self
    }

    /// Appends an attribute that holds others.
    pub(super) fn nest(self, kind: u16, inner: Self) -> Self {
        self.attr(kind | NLA_F_NESTED, &inner.0)
    }

    /// Appends a name, with its final zero.
    pub(super) fn name(self, kind: u16, name: &str) -> Self {
        let mut bytes = name.as_bytes().to_vec();
        bytes.push(0);
        self.attr(kind, &bytes)
    }

    /// Appends a 32-bit number.
    pub(super) fn number(self, kind: u16, value: u32) -> Self {
        self.attr(kind, &value.to_ne_bytes())
    }

    fn pad(&mut self) {
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }
}

/// The attributes after the first `skip` bytes; a damaged tail ends the walk.
pub(super) fn attributes(body: &[u8], skip: usize) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = body.get(skip.next_multiple_of(4)..).unwrap_or_default();
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(rest.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(rest.get(2..4)?.try_into().ok()?) & NLA_TYPE_MASK;
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// A 32-bit attribute.
pub(super) fn number(value: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(value.get(..4)?.try_into().ok()?))
}

/// A name attribute without its final zero.
pub(super) fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
}

const NLA_F_NESTED: u16 = 1 << 15;
const NLA_TYPE_MASK: u16 = 0x3fff;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_survive_a_round_trip_and_damage() {
        let body = Body::new(&[1, 2, 3]).name(3, "eth").number(4, 0xdead_beef).nest(5, Body::default().number(1, 2));
        let found: Vec<_> = attributes(&body.0, 3).collect();
        assert_eq!(found.len(), 3);
        assert_eq!((found[0].0, text(found[0].1).as_str()), (3, "eth"));
        assert_eq!(number(found[1].1), Some(0xdead_beef));
        assert_eq!(attributes(found[2].1, 0).collect::<Vec<_>>(), [(1, &2u32.to_ne_bytes()[..])]);
        for cut in 0..body.0.len() {
            let _ = attributes(&body.0[..cut], 3).count();
        }
        assert_eq!(attributes(&[0, 0, 0, 0, 9, 9], 0).count(), 0, "a length below the header ends the walk");
    }
}
