//! Hardware addresses on attached networks.

use std::net::IpAddr;

use portreeve_model::MacAddress;

/// Which address has which hardware address; sorted, so that a look-up needs no hashing.
#[derive(Clone, Debug, Default)]
pub(crate) struct NeighborTable(Vec<(IpAddr, MacAddress)>);

impl NeighborTable {
    /// Of two entries for one address the first counts.
    pub(crate) fn new(mut entries: Vec<(IpAddr, MacAddress)>) -> Self {
        entries.sort_by_key(|&(address, _)| address);
        entries.dedup_by_key(|&mut (address, _)| address);
        Self(entries)
    }

    #[inline]
    pub(crate) fn get(&self, address: IpAddr) -> Option<MacAddress> {
        let place = self.0.binary_search_by_key(&address, |&(address, _)| address).ok()?;
        self.0.get(place).map(|&(_, mac)| mac)
    }

    /// All entries.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (IpAddr, MacAddress)> + '_ {
        self.0.iter().copied()
    }

    /// With more entries; the new ones count.
    pub(crate) fn extend(&mut self, new: Vec<(IpAddr, MacAddress)>) {
        let mut entries = new;
        entries.append(&mut self.0);
        *self = Self::new(entries);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newer_entries_count() {
        let address = |last| IpAddr::from([10, 99, 0, last]);
        let mac = |last| MacAddress([2, 0, 0, 0, 0, last]);
        let mut table = NeighborTable::new(vec![(address(2), mac(2)), (address(1), mac(1))]);
        table.extend(vec![(address(2), mac(9)), (address(3), mac(3))]);
        assert_eq!(table.get(address(1)), Some(mac(1)));
        assert_eq!(table.get(address(2)), Some(mac(9)));
        assert_eq!(table.get(address(3)), Some(mac(3)));
        assert_eq!(table.get(address(4)), None);
    }
}
