//! Room on the disk that holds the private database.

use std::{io, path::Path};

/// With less than this left a scan's results may not fit any more.
pub const SCARCE: u64 = 512 << 20;

/// Bytes that the server's account may still write below `folder`.
pub fn free_bytes(folder: &Path) -> io::Result<u64> {
    let disk = nix::sys::statvfs::statvfs(folder)?;
    Ok(disk.blocks_available().saturating_mul(disk.fragment_size()))
}

/// A size for people, as `1.4 GiB`.
pub fn readable(bytes: u64) -> String {
    let mebibytes = bytes as f64 / f64::from(1u32 << 20);
    if mebibytes < 1024.0 { format!("{mebibytes:.0} MiB") } else { format!("{:.1} GiB", mebibytes / 1024.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folders_disk_has_room_and_a_missing_folder_has_none() {
        assert!(free_bytes(&std::env::temp_dir()).expect("there") > 0);
        assert!(free_bytes(Path::new("/nonexistent")).is_err());
    }

    #[test]
    fn sizes_are_readable() {
        assert_eq!(readable(SCARCE), "512 MiB");
        assert_eq!(readable(3 << 29), "1.5 GiB");
    }
}
