/* What the XDP programs (far.bpf.c) and their owner (far.c) share.
 *
 * The far end answers for a whole IPv4 network without a table: whether a host lives and whether a port is open is a
 * pure function of (address, port, seed). `lab/src/scan/network.rs` has the same function, and so knows the truth of
 * any scan. Addresses and ports are in host byte order.
 */
#ifndef FAR_H
#define FAR_H

#include <linux/types.h>

#define FAR_MILLION 1000000u

/* How a closed port of a live host answers. */
enum far_closed { FAR_CLOSED_RESET = 0, FAR_CLOSED_SILENT = 1 };

/* Bits of far_config.flags. */
enum {
    FAR_VERIFY   = 1, /* check the checksums of every probe; a wrong one is counted and not answered */
    FAR_TRACK    = 2, /* mark every (host, port) in a bitmap, count what comes again                 */
    FAR_TIMELINE = 4, /* count arrivals per time bucket                                              */
};

struct far_config {
    __u32 network, mask;        /* what is answered for                                          */
    __u32 seed;
    __u32 open_ppm;             /* chance that a port is open, per million                       */
    __u32 live_ppm;             /* chance that a host exists, per million                        */
    __u32 probe_loss_ppm;       /* probes lost on the way in                                     */
    __u32 reply_loss_ppm;       /* answers lost on the way out                                   */
    __u32 closed;               /* enum far_closed                                               */
    __u32 flags;
    __u32 port_low, port_high;  /* open ports exist in this range only                           */
    __u32 tracked_ports;        /* per host: the length of a row of the bitmap                   */
    __u32 tracked_hosts;        /* from `network` upwards                                        */
    __u32 bucket_ns;            /* width of a time bucket                                        */
    __u32 link_gap_ns;          /* a narrow link: time a probe takes to cross; 0 is no such link */
    __u32 link_queue_ns;        /* what queues before it; a probe that would wait longer is lost */
};

/* Counters, one slot each of a per-CPU array; far.c has their names in this order. */
enum far_counter {
    FAR_FRAMES,      /* every frame the program saw                        */
    FAR_BYTES,       /* their lengths                                      */
    FAR_SYN,         /* TCP SYN to the network                             */
    FAR_RESET,       /* TCP RST, of the scanner or of its kernel           */
    FAR_OTHER_TCP,   /* other TCP segments                                 */
    FAR_ECHO,        /* ICMP echo requests                                 */
    FAR_UDP,
    FAR_OTHER,       /* everything else, left to the kernel                */
    FAR_SENT_SYNACK, /* answers                                            */
    FAR_SENT_RESET,
    FAR_SENT_ECHO,
    FAR_LOST_PROBE,  /* thrown away on purpose                             */
    FAR_LOST_REPLY,
    FAR_LOST_LINK,   /* did not fit into the narrow link                   */
    FAR_BAD_SUM,     /* probes with a wrong checksum                       */
    FAR_REPEAT,      /* probes to a (host, port) that was probed before    */
    FAR_UNTRACKED,   /* probes outside the tracked rectangle               */
    FAR_COUNTERS
};

#define FAR_BUCKETS 131072u       /* of 1 ms: 131 s       */
#define FAR_WORDS   (1u << 18)    /* of 64 bits: 16.7 M (host, port) */
#define FAR_UNTRACKED_PORT 0xffffffffu

/* The flood of forged replies: who to, how fast. */
struct far_flood {
    __u32 to, ifindex;
    __u32 port_low, ports;      /* destination ports [port_low, port_low + ports)   */
    __u64 gap_q16;              /* nanoseconds a frame, 16 fractional bits           */
    __u64 start, sent, allowed;
    __u8 head[16];              /* Ethernet header                                   */
};
#define FAR_FLOOD_FRAME 70      /* fits an ICMP error that quotes 28 bytes           */

/* 32-bit finalising mixer, over address and port. */
static inline __attribute__((always_inline)) __u32 far_mix(__u32 h)
{
    h ^= h >> 16; h *= 0x7feb352du;
    h ^= h >> 15; h *= 0x846ca68bu;
    h ^= h >> 16;
    return h;
}
static inline __attribute__((always_inline)) __u32 far_hash(__u32 address, __u32 port, __u32 seed)
{
    return far_mix(far_mix(address ^ seed) + port * 0x9e3779b1u);
}
/* A chance test without division: h is uniform on 32 bits. */
static inline __attribute__((always_inline)) int far_chance(__u32 h, __u32 ppm)
{
    return (__u32)(((__u64)h * FAR_MILLION) >> 32) < ppm;
}
static inline __attribute__((always_inline)) int far_live(const struct far_config *c, __u32 address)
{
    return far_chance(far_hash(address, 0x10000u, c->seed), c->live_ppm);
}
static inline __attribute__((always_inline)) int far_open(const struct far_config *c, __u32 address, __u32 port)
{
    return port >= c->port_low && port <= c->port_high && far_chance(far_hash(address, port, c->seed), c->open_ppm);
}
#endif
