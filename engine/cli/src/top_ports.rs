//! Which TCP ports to try when nobody says which.
//!
//! Our own ranking, by judgement and not by measurement of others' networks: first what nearly every
//! network has, then remote administration, mail, databases, the web ports of products, message queues and
//! clusters, and last what is rare but matters when it is open.

/// Commonest first, each once.
pub(crate) const RANKED: &[u16] = &[
    // Web, shells, names, files, mail: the trunk.
    80, 443, 22, 21, 25, 53, 445, 139, 3389, 8080, 23, 110, 143, 3306, 5432, 8443, 135, 111, 993, 995, 587,
    465, // Remote administration and desktops.
    5900, 5985, 5986, 8006, 10000, 9090, 2222, 5901, 3283, 5800, 6000, 623, 664, 16992, 16993, 902, 903,
    // Databases, caches, search.
    6379, 27017, 1433, 1521, 9200, 11211, 5984, 9042, 7000, 7001, 9300, 8086, 50000, 3050, 5433, 26257, 28015,
    7474, 7687, 8123, 9000, 6380, 27018, 1434, 33060, 5601, 8529, 6333,
    // Web ports of products and frameworks.
    8000, 8888, 8081, 3000, 5000, 8001, 8008, 8009, 8082, 8083, 8084, 8085, 8088, 8089, 8090, 8091, 8180,
    8181, 8444, 8834, 8880, 9001, 9080, 9443, 9091, 9999, 4443, 4848, 7070, 7080, 7443, 7777, 81, 82, 88,
    591, 593, 3001, 4000, 4200, 5001, 5173, 5555, 8002, 8010, 8096, 8112, 8200, 8333, 8400, 8500, 8600, 8686,
    8765, 8787, 8800, 8983, 9002, 9003, 9093, 9100, 9115, 9180, 9292, 9981, 10443, 18080, 32400, 49152,
    60000, // Directories, authentication, files, printing.
    389, 636, 3268, 3269, 464, 749, 873, 548, 2049, 20048, 631, 515, 9101, 9102, 9103, 990, 989, 69, 115,
    427, 3260, 24007, 5357, 5358, 860, // Mail and groupware beyond the trunk; chat, voice, video.
    24, 106, 109, 366, 2525, 4190, 5222, 5223, 5269, 5280, 5060, 5061, 1720, 554, 1935, 8554, 7071, 6667,
    6697, 3478, 5349, 64738, 9987, 10011, 30033, 119, 563, 194,
    // Queues, clusters, containers, metrics, build and deployment.
    5672, 5671, 15672, 1883, 8883, 61616, 61613, 4222, 8222, 9092, 2181, 2379, 2380, 2375, 2376, 6443, 10250,
    10255, 10257, 10259, 8301, 8302, 4646, 4647, 7946, 4789, 5044, 9094, 9095, 9104, 9113, 9121, 9187, 9411,
    14268, 16686, 4317, 4318, 3100, 8125, 2003, 2004, 24224, 514, 6514, 601, 1514, 1515, 55000, 10051, 10050,
    5666, 12489, 8140, 4505, 4506, 50070, 8020, 8030, 8032, 8042, 9864, 9870, 16010, 60010, 7077, 18091,
    11210, 4369, 25672, // Network gear, tunnels, routing, hosting.
    179, 264, 500, 1723, 1194, 1701, 4500, 51820, 8728, 8729, 8291, 161, 199, 2000, 830, 6633, 6653, 18264,
    541, 8013, 4433, 4444, 1080, 3128, 8118, 9050, 2082, 2083, 2086, 2087, 2095, 2096, 8887,
    // Old Unix, Windows services, games, home.
    7, 9, 13, 19, 37, 43, 49, 70, 79, 113, 512, 513, 543, 544, 1025, 1026, 1027, 1028, 1029, 1110, 2121, 5009,
    5190, 5631, 6001, 6646, 32768, 49153, 49154, 49155, 49156, 49157, 47001, 3689, 5353, 7547, 8060, 1900,
    2869, 62078, 25565, 27015, 19132, 1400, 6668, 4070,
    // Industry and buildings: their protocols get no payload unless asked for.
    102, 502, 20000, 44818, 47808, 2404, 1911, 4911, 9600, 789, 1962, 5094, 34964,
    // Business software and backup.
    3200, 3300, 3600, 50013, 8100, 1099, 1098, 4445, 8093, 2638, 5500, 6050, 9495, 10001, 13720, 13782, 6106,
    9392, 9855, 6160, 9419, 2809, 9043, 9060, 7002, 7003, 8453, 1352, 3940, 1530, 1630, 5520, 5480, 8943,
];

/// How many are tried by default: all of them.
pub(crate) const DEFAULT: usize = RANKED.len();

/// The first `count` of the ranking as a port list.
pub(crate) fn list(count: usize) -> String {
    RANKED.iter().take(count).map(u16::to_string).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use portreeve_scan::PortSet;

    use super::*;

    #[test]
    fn every_port_stands_once_and_the_default_is_there() {
        assert_eq!(RANKED.iter().collect::<HashSet<_>>().len(), RANKED.len());
        let ports: PortSet = list(DEFAULT).parse().expect("a port list");
        assert_eq!(ports.tcp().len(), DEFAULT);
    }
}
