// SPDX-License-Identifier: GPL-2.0
/* The far end of the scan lab: XDP programs that count, check and answer probes in the driver hook.
 *
 *   far_respond   answers SYN with SYN-ACK, RST or silence, and pings, for a pseudo-random set of hosts and ports
 *   far_sink      parses, counts, tracks and drops
 *   far_blackhole counts and drops: the cheapest receiver
 *   far_flood     makes forged replies, run in live-frame mode
 *
 * Nothing is kept per probe but one bit, so the rate does not depend on the size of the network.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/tcp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "far.h"

/* Not linux/icmp.h, which needs the C library of another architecture. */
struct icmp_header {
    __u8 type, code;
    __u16 checksum;
    __u32 rest;
};

#define ARRAY(name, entries, type_) \
    struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, entries); __uint(map_flags, BPF_F_MMAPABLE); \
             __type(key, __u32); __type(value, type_); } name SEC(".maps")

ARRAY(config, 1, struct far_config);
ARRAY(flood, 1, struct far_flood);
ARRAY(timeline, FAR_BUCKETS, __u64);
/* First and last arrival, and when the narrow link is free again. */
ARRAY(times, 3, __u64);
enum { FIRST, LAST, LINK_FREE };
/* Which (host, port) were probed; `port_row` has each port's place in a host's row. */
ARRAY(seen, FAR_WORDS, __u64);
ARRAY(port_row, 1 << 16, __u64);
struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, FAR_COUNTERS);
         __type(key, __u32); __type(value, __u64); } counters SEC(".maps");

#define INLINE static __always_inline

INLINE void bump(__u32 counter, __u64 by)
{
    __u64 *value = bpf_map_lookup_elem(&counters, &counter);
    if (value)
        *value += by;
}

INLINE __u64 *moment(__u32 which)
{
    return bpf_map_lookup_elem(&times, &which);
}

INLINE void note_time(const struct far_config *c, __u64 now)
{
    __u64 *first = moment(FIRST), *last = moment(LAST);
    if (!first || !last)
        return;
    if (*first == 0)
        __sync_val_compare_and_swap(first, 0, now);
    *last = now;
    __s64 since = now - *first;
    __u32 bucket = since > 0 && c->bucket_ns ? since / c->bucket_ns : 0;
    if (bucket >= FAR_BUCKETS)
        bucket = FAR_BUCKETS - 1;
    __u64 *count = bpf_map_lookup_elem(&timeline, &bucket);
    if (count)
        __sync_fetch_and_add(count, 1);
}

INLINE void note_seen(const struct far_config *c, __u32 address, __u32 port)
{
    __u64 *row = bpf_map_lookup_elem(&port_row, &port);
    __u32 host = address - c->network;
    if (!row || *row >= c->tracked_ports || host >= c->tracked_hosts) {
        bump(FAR_UNTRACKED, 1);
        return;
    }
    __u64 bit = (__u64)host * c->tracked_ports + *row;
    __u32 word = bit >> 6;
    __u64 *bits = bpf_map_lookup_elem(&seen, &word), mask = 1ULL << (bit & 63);
    if (!bits)
        bump(FAR_UNTRACKED, 1);
    else if (__sync_fetch_and_or(bits, mask) & mask)
        bump(FAR_REPEAT, 1);
}

/* Whether the probe finds room in the queue before the narrow link. Two CPUs may read the same moment; the link is
 * then wider by one probe, which no test can tell. */
INLINE int link_takes(const struct far_config *c, __u64 now)
{
    __u64 *until = moment(LINK_FREE);
    if (!until)
        return 1;
    __u64 start = *until > now ? *until : now;
    if (start - now > c->link_queue_ns)
        return 0;
    *until = start + c->link_gap_ns;
    return 1;
}

INLINE __u16 fold(__u32 sum)
{
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return ~sum;
}

/* Sum of `words` 16-bit words; a constant. */
INLINE __u32 sum_of(const void *from, int words)
{
    const __u16 *word = from;
    __u32 sum = 0;
#pragma unroll
    for (int i = 0; i < words; i++)
        sum += word[i];
    return sum;
}

INLINE __u32 pseudo_header(const struct iphdr *ip, __u16 length)
{
    return sum_of(&ip->saddr, 4) + bpf_htons(IPPROTO_TCP) + bpf_htons(length);
}

#define TCP_OF(words) case words: \
    if ((void *)tcp + (words) * 4 > end) return 0; \
    return fold(pseudo_header(ip, (words) * 4) + sum_of(tcp, (words) * 2)) == 0

/* Whether both checksums of a segment without payload are right. */
static __noinline int sums_are_right(struct iphdr *ip, struct tcphdr *tcp, void *end)
{
    if ((void *)(ip + 1) > end || (void *)(tcp + 1) > end)
        return 0;
    if (fold(sum_of(ip, 10)) != 0)
        return 0;
    if (bpf_ntohs(ip->tot_len) != 20 + tcp->doff * 4)
        return 0; /* a probe has no payload */
    switch (tcp->doff) {
    TCP_OF(5);
    TCP_OF(6);
    TCP_OF(7);
    TCP_OF(8);
    TCP_OF(9);
    TCP_OF(10);
    TCP_OF(11);
    TCP_OF(12);
    TCP_OF(13);
    TCP_OF(14);
    TCP_OF(15);
    }
    return 0;
}

INLINE void swap_addresses(struct ethhdr *ethernet)
{
    __u8 mac[ETH_ALEN];
    __builtin_memcpy(mac, ethernet->h_dest, ETH_ALEN);
    __builtin_memcpy(ethernet->h_dest, ethernet->h_source, ETH_ALEN);
    __builtin_memcpy(ethernet->h_source, mac, ETH_ALEN);
}

/* A new IPv4 header in place, source and destination swapped. */
INLINE void answer_ip(struct iphdr *ip, __u16 total)
{
    __be32 source = ip->saddr;
    ip->saddr = ip->daddr;
    ip->daddr = source;
    ip->ihl = 5;
    ip->version = 4;
    ip->tos = 0;
    ip->tot_len = bpf_htons(total);
    ip->id = 0;
    ip->frag_off = bpf_htons(0x4000);
    ip->ttl = 64;
    ip->check = 0;
    ip->check = fold(sum_of(ip, 10));
}

/* Not XDP_TX: on a veth that wakes the other end only if it has an XDP program of its own, and whether it has one is
 * the scanner's choice. A redirect to the own device wakes it when it has GRO, which the lab switches on. */
INLINE int send_back(struct xdp_md *context)
{
    return bpf_redirect(context->ingress_ifindex, 0);
}

#define SYNACK_LENGTH (ETH_HLEN + 20 + 24)
#define RESET_LENGTH  (ETH_HLEN + 20 + 20)

INLINE int answer_tcp(struct xdp_md *context, const struct far_config *c, int open)
{
    int want = open ? SYNACK_LENGTH : RESET_LENGTH, have = context->data_end - context->data;
    if (have != want && bpf_xdp_adjust_tail(context, want - have))
        return XDP_DROP;
    void *data = (void *)(long)context->data, *end = (void *)(long)context->data_end;
    struct ethhdr *ethernet = data;
    struct iphdr *ip = data + ETH_HLEN;
    struct tcphdr *tcp = (void *)(ip + 1);
    if ((void *)(tcp + 1) > end)
        return XDP_DROP;

    swap_addresses(ethernet);
    answer_ip(ip, want - ETH_HLEN);
    __be16 source = tcp->source;
    tcp->source = tcp->dest;
    tcp->dest = source;
    tcp->ack_seq = bpf_htonl(bpf_ntohl(tcp->seq) + 1);
    tcp->urg_ptr = 0;
    ((__u8 *)tcp)[13] = open ? 0x12 : 0x14; /* SYN+ACK : RST+ACK */
    tcp->check = 0;
    if (open) {
        tcp->seq = far_hash(bpf_ntohl(ip->saddr), bpf_ntohs(tcp->source), c->seed ^ 0x5eed);
        tcp->window = bpf_htons(64240);
        ((__u8 *)tcp)[12] = 6 << 4;
        __be32 *option = (void *)(tcp + 1);
        if ((void *)(option + 1) > end)
            return XDP_DROP;
        *option = bpf_htonl(0x020405b4); /* MSS 1460 */
        tcp->check = fold(pseudo_header(ip, 24) + sum_of(tcp, 12));
    } else {
        tcp->seq = 0;
        tcp->window = 0;
        ((__u8 *)tcp)[12] = 5 << 4;
        tcp->check = fold(pseudo_header(ip, 20) + sum_of(tcp, 10));
    }
    bump(open ? FAR_SENT_SYNACK : FAR_SENT_RESET, 1);
    return send_back(context);
}

INLINE int answer_echo(struct xdp_md *context, struct ethhdr *ethernet, struct iphdr *ip, struct icmp_header *icmp)
{
    swap_addresses(ethernet);
    answer_ip(ip, bpf_ntohs(ip->tot_len));
    icmp->type = 0; /* from 8, in the high byte of its word */
    icmp->checksum = fold((__u16)~icmp->checksum + (__u16)~bpf_htons(0x0800));
    bump(FAR_SENT_ECHO, 1);
    return send_back(context);
}

/* Losses on the way in and out; whether the probe is answered at all. */
INLINE int crosses(const struct far_config *c, __u64 now)
{
    if (c->link_gap_ns && !link_takes(c, now)) {
        bump(FAR_LOST_LINK, 1);
        return 0;
    }
    if (c->probe_loss_ppm && far_chance(bpf_get_prandom_u32(), c->probe_loss_ppm)) {
        bump(FAR_LOST_PROBE, 1);
        return 0;
    }
    return 1;
}

INLINE int returns(const struct far_config *c)
{
    if (c->reply_loss_ppm && far_chance(bpf_get_prandom_u32(), c->reply_loss_ppm)) {
        bump(FAR_LOST_REPLY, 1);
        return 0;
    }
    return 1;
}

INLINE int take_tcp(struct xdp_md *context, const struct far_config *c, struct iphdr *ip, void *end, int respond)
{
    struct tcphdr *tcp = (void *)(ip + 1);
    if ((void *)(tcp + 1) > end)
        return XDP_DROP;
    __u8 bits = ((__u8 *)tcp)[13];
    if ((bits & 0x17) != 0x02) {
        bump((bits & 0x04) ? FAR_RESET : FAR_OTHER_TCP, 1);
        return XDP_DROP;
    }
    __u32 address = bpf_ntohl(ip->daddr), port = bpf_ntohs(tcp->dest), flags = c->flags;
    __u64 now = (flags & FAR_TIMELINE) || c->link_gap_ns ? bpf_ktime_get_ns() : 0;
    bump(FAR_SYN, 1);
    if (flags & FAR_TIMELINE)
        note_time(c, now);
    if (flags & FAR_TRACK)
        note_seen(c, address, port);
    if ((flags & FAR_VERIFY) && !sums_are_right(ip, tcp, end)) {
        bump(FAR_BAD_SUM, 1);
        return XDP_DROP; /* as a real host would */
    }
    if (!respond || !crosses(c, now) || !far_live(c, address))
        return XDP_DROP;
    int open = far_open(c, address, port);
    if ((!open && c->closed == FAR_CLOSED_SILENT) || !returns(c))
        return XDP_DROP;
    return answer_tcp(context, c, open);
}

INLINE int take(struct xdp_md *context, int respond)
{
    void *data = (void *)(long)context->data, *end = (void *)(long)context->data_end;
    struct ethhdr *ethernet = data;
    struct iphdr *ip = data + ETH_HLEN;
    __u32 zero = 0;
    struct far_config *c = bpf_map_lookup_elem(&config, &zero);
    if (!c || (void *)(ethernet + 1) > end)
        return XDP_PASS;
    bump(FAR_FRAMES, 1);
    bump(FAR_BYTES, end - data);
    if (ethernet->h_proto != bpf_htons(ETH_P_IP) || (void *)(ip + 1) > end || ip->ihl != 5 ||
        (bpf_ntohl(ip->daddr) & c->mask) != c->network) {
        bump(FAR_OTHER, 1);
        return XDP_PASS;
    }
    if (ip->protocol == IPPROTO_TCP)
        return take_tcp(context, c, ip, end, respond);
    if (ip->protocol == IPPROTO_ICMP) {
        struct icmp_header *icmp = (void *)(ip + 1);
        if ((void *)(icmp + 1) > end || icmp->type != 8)
            return XDP_DROP;
        bump(FAR_ECHO, 1);
        __u64 now = c->link_gap_ns ? bpf_ktime_get_ns() : 0;
        if (respond && crosses(c, now) && far_live(c, bpf_ntohl(ip->daddr)) && returns(c))
            return answer_echo(context, ethernet, ip, icmp);
        return XDP_DROP;
    }
    bump(ip->protocol == IPPROTO_UDP ? FAR_UDP : FAR_OTHER, 1);
    return XDP_DROP;
}

SEC("xdp") int far_sink(struct xdp_md *context)    { return take(context, 0); }
SEC("xdp") int far_respond(struct xdp_md *context) { return take(context, 1); }

SEC("xdp") int far_blackhole(struct xdp_md *context)
{
    void *data = (void *)(long)context->data, *end = (void *)(long)context->data_end;
    struct ethhdr *ethernet = data;
    if ((void *)(ethernet + 1) > end || ethernet->h_proto != bpf_htons(ETH_P_IP))
        return XDP_PASS;
    bump(FAR_FRAMES, 1);
    return XDP_DROP;
}

/* Whether the next forged frame is due: at most 1 ms' worth is made up for after a stall. */
INLINE int is_due(struct far_flood *f)
{
    if (f->sent < f->allowed)
        return 1;
    __u64 now = bpf_ktime_get_ns(), most = (1000000ULL << 16) / f->gap_q16 + 1;
    if (!f->start)
        f->start = now;
    f->allowed = ((now - f->start) << 16) / f->gap_q16 + 1;
    if (f->allowed > f->sent + most) {
        f->start += ((f->allowed - f->sent - most) * f->gap_q16) >> 16;
        f->allowed = f->sent + most;
    }
    return f->sent < f->allowed;
}

/* Forged replies from random addresses of the network: SYN-ACK, RST and ICMP unreachable in turn, all well formed but
 * for the secret that only an answer to a real probe can carry. */
SEC("xdp") int far_flood(struct xdp_md *context)
{
    void *data = (void *)(long)context->data, *end = (void *)(long)context->data_end;
    __u32 zero = 0;
    struct far_flood *f = bpf_map_lookup_elem(&flood, &zero);
    struct far_config *c = bpf_map_lookup_elem(&config, &zero);
    if (!f || !c || data + FAR_FLOOD_FRAME > end)
        return XDP_ABORTED;
    if (!f->gap_q16 || !f->ports || !is_due(f))
        return XDP_DROP;
    __u32 random = bpf_get_prandom_u32(), kind = f->sent % 3;
    __be32 from = bpf_htonl(c->network | (random & ~c->mask)), to = bpf_htonl(f->to);
    __be16 ours = bpf_htons(f->port_low + (random >> 8) % f->ports), theirs = bpf_htons(random >> 16 | 1);
    /* The buffer was used before and may have been written to: everything is written anew. */
    __builtin_memset(data, 0, FAR_FLOOD_FRAME);
    __builtin_memcpy(data, f->head, ETH_HLEN);
    struct iphdr *ip = data + ETH_HLEN;
    ip->ihl = 5;
    ip->version = 4;
    ip->ttl = 60;
    ip->saddr = from;
    ip->daddr = to;
    if (kind == 2) {
        struct icmp_header *icmp = (void *)(ip + 1);
        struct iphdr *quoted = (void *)(icmp + 1);
        __be16 *ports = (void *)(quoted + 1);
        ip->protocol = IPPROTO_ICMP;
        ip->tot_len = bpf_htons(FAR_FLOOD_FRAME - ETH_HLEN);
        icmp->type = 3;
        icmp->code = 1;
        quoted->ihl = 5;
        quoted->version = 4;
        quoted->ttl = 1;
        quoted->protocol = IPPROTO_TCP;
        quoted->tot_len = bpf_htons(44);
        quoted->saddr = to;
        quoted->daddr = from;
        quoted->check = fold(sum_of(quoted, 10));
        ports[0] = ours;
        ports[1] = theirs;
        *(__u32 *)(ports + 2) = bpf_get_prandom_u32();
        icmp->checksum = fold(sum_of(icmp, 18));
    } else {
        struct tcphdr *tcp = (void *)(ip + 1);
        ip->protocol = IPPROTO_TCP;
        ip->tot_len = bpf_htons(40);
        tcp->source = theirs;
        tcp->dest = ours;
        tcp->seq = random;
        tcp->ack_seq = bpf_get_prandom_u32();
        ((__u8 *)tcp)[12] = 5 << 4;
        ((__u8 *)tcp)[13] = kind ? 0x14 : 0x12;
        tcp->window = kind ? 0 : bpf_htons(64240);
        tcp->check = fold(pseudo_header(ip, 20) + sum_of(tcp, 10));
    }
    ip->check = fold(sum_of(ip, 10));
    f->sent++;
    return bpf_redirect(f->ifindex, 0);
}

char _license[] SEC("license") = "GPL";
