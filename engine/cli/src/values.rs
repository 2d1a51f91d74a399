//! Values of options, read from text.

use std::{str::FromStr, time::Duration};

use clap::ValueEnum;
use portreeve_scan::{BackendChoice, HostProbeError, HostProbes, Shard, VlanId};
use serde::{Deserialize, Serialize};

/// [`BackendChoice`] by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Backend {
    /// The best that works here
    Auto,
    /// A program in the kernel makes the probes: the fastest by far, for all over IPv4 but SCTP
    Kernel,
    /// AF_XDP: frames in memory shared with the kernel
    Xdp,
    /// A packet ring shared with the kernel
    Ring,
    /// Many packets per system call
    Batch,
    /// Ordinary sockets: needs no rights, slow
    Connect,
}

impl From<Backend> for BackendChoice {
    fn from(backend: Backend) -> Self {
        match backend {
            Backend::Auto => Self::Auto,
            Backend::Batch => Self::Batch,
            Backend::Connect => Self::Connect,
            Backend::Kernel => Self::Kernel,
            Backend::Ring => Self::Ring,
            Backend::Xdp => Self::Xdp,
        }
    }
}

/// Reads the identifier of a VLAN.
pub(crate) fn parse_vlan(text: &str) -> Result<VlanId, String> {
    let id = text.parse().ok().filter(|id| (1..=4094).contains(id)).and_then(VlanId::new);
    id.ok_or_else(|| "it must be a number from 1 to 4094".to_owned())
}

/// Reads `5000`, `100k` or `1.5M`, in packets per second.
pub(crate) fn parse_rate(text: &str) -> Result<u32, String> {
    let (number, scale) = match (text.strip_suffix(['k', 'K']), text.strip_suffix(['m', 'M'])) {
        (Some(number), _) => (number, 1e3),
        (None, Some(number)) => (number, 1e6),
        (None, None) => (text, 1.0),
    };
    let rate =
        number.parse::<f64>().map_err(|_| "write packets per second as 5000, 100k or 1.5M".to_owned())?
            * scale;
    if rate != 0.0 && !(1.0..=f64::from(u32::MAX)).contains(&rate) {
        return Err(format!("it must be at least 1 and at most {}", u32::MAX));
    }
    Ok(rate as u32)
}

/// Reads `2s`, `500ms`, or seconds without a unit.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let (number, scale) = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(number), _) => (number, 1e-3),
        (None, Some(number)) => (number, 1.0),
        (None, None) => (text, 1.0),
    };
    let seconds = number.trim().parse::<f64>().map_err(|_| "write it as 2s or 500ms".to_owned())? * scale;
    if (0.0..=3_600.0).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err("it must be between 0 s and 3600 s".to_owned())
    }
}

/// Reads ways to look for hosts; nothing is the default.
pub(crate) fn parse_ping(text: &str) -> Result<HostProbes, String> {
    if text.is_empty() {
        return Ok(HostProbes::default());
    }
    text.parse().map_err(|error: HostProbeError| error.to_string())
}

/// A part of a scan, counted from 0, as it is kept in a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Part {
    pub(crate) index: u32,
    pub(crate) count: u32,
}

impl Part {
    pub(crate) const WHOLE: Self = Self { index: 0, count: 1 };

    /// The engine's word for it; `None` if there is no such part.
    pub(crate) fn shard(self) -> Option<Shard> {
        Shard::new(self.index, self.count)
    }
}

/// Reads `1/4`: the first of four parts.
pub(crate) fn parse_shard(text: &str) -> Result<Part, String> {
    let advice = || "write it as 1/4: a part from 1 to N, and N".to_owned();
    let (part, count) = text.split_once('/').ok_or_else(advice)?;
    let part = u32::from_str(part).map_err(|_| advice())?;
    let count = u32::from_str(count).map_err(|_| advice())?;
    let part = part.checked_sub(1).map(|index| Part { index, count });
    part.filter(|part| part.shard().is_some()).ok_or_else(advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_shards_are_read_or_refused() {
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("2s"), Ok(Duration::from_secs(2)));
        assert_eq!(parse_duration("0.5"), Ok(Duration::from_millis(500)));
        for text in ["", "s", "-1", "1h", "NaN", "inf", "1e9"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        assert_eq!(parse_shard("1/1"), Ok(Part::WHOLE));
        assert_eq!(parse_shard("4/4"), Ok(Part { index: 3, count: 4 }));
        for text in ["", "0/4", "5/4", "1", "1/0", "a/b"] {
            assert!(parse_shard(text).is_err(), "{text}");
        }
    }

    #[test]
    fn rates_are_read_or_refused() {
        assert_eq!(parse_rate("5000"), Ok(5_000));
        assert_eq!(parse_rate("100k"), Ok(100_000));
        assert_eq!(parse_rate("1.5M"), Ok(1_500_000));
        assert_eq!(parse_rate("0"), Ok(0), "told elsewhere");
        for text in ["", "k", "-1", "0.5", "fast", "NaN", "inf", "5G", "5000000k"] {
            assert!(parse_rate(text).is_err(), "{text}");
        }
    }
}
