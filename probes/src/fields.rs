//! What was read from replies: named values, bounded.

/// Named values read from a conversation; a name may occur several times.
///
/// Names: `raw` and `line1` of every reply, and what `decode` adds for protocols it knows, as
/// `http.server` or `ssh.software`. Holds at most 4,096 values and 256 KiB; more is dropped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields {
    values: Vec<Value>,
    bytes: usize,
}

/// One value and the probe whose reply it was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Value {
    pub name: String,
    pub bytes: Vec<u8>,
    pub probe: String,
}

const MAX_VALUES: usize = 4096;
const MAX_BYTES: usize = 256 * 1024;

impl Fields {
    /// Adds a value read from the reply to `probe` (`banner` for what was said unasked).
    pub fn add(&mut self, probe: &str, name: &str, value: &[u8]) {
        if self.values.len() >= MAX_VALUES || self.bytes + value.len() > MAX_BYTES {
            return;
        }
        self.bytes += value.len();
        self.values.push(Value { name: name.to_owned(), bytes: value.to_vec(), probe: probe.to_owned() });
    }

    /// The first value of that name.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.values.iter().find(|value| value.name == name).map(|value| value.bytes.as_slice())
    }

    /// Whether nothing was read.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    pub(crate) fn values(&self) -> &[Value] {
        &self.values
    }
}
