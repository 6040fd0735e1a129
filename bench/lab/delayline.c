/* Holds packets back for a while, and loses some: what `tc netem` does where the kernel has it.
 *
 *     delayline SETTINGS QUEUES
 *
 * Rules of iptables put the packets of each direction of each link into one NFQUEUE queue. The packets
 * stay in the kernel, which tells only their numbers; this program says when each may go on. SETTINGS
 * is a file of QUEUES records, `struct setting` below and `SETTING` in delay_settings.py, and is mapped:
 * whoever writes there changes a link while packets flow. The order within a queue is kept.
 *
 * A sender hands over bursts of several packets at once. They stay together, as that costs a tenth of
 * the work, but on a link with loss the kernel is asked to take them apart first, so that single packets
 * are lost, as on a wire.
 *
 * Must be started inside the network namespace of the switch. Says `ready` on standard output; ends by
 * a signal, and the rules let packets pass from then on. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <linux/netlink.h>
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    HELD = 1 << 14,          /* packets that a queue may hold; a power of two */
    AT_ONCE = 64,            /* packets taken over by one system call */
    PACKET_BYTES = 1024,     /* the kernel's message on one packet, without its data */
    OUT_BYTES = 1 << 15,     /* verdicts sent by one system call */
    PRIORITY = 2,            /* above the ticker's */
    RECEIVE_BYTES = 8 << 20,
    MILLION = 1000000,
};

struct setting {
    volatile uint32_t delay_us, loss_ppm;
    uint32_t packets, lost; /* counted here */
};

struct packet {
    uint64_t due_ns;
    uint32_t id; /* as the kernel wrote it, big-endian */
    uint32_t verdict;
};

struct queue {
    struct packet *held; /* a ring: from `first` to `end` */
    unsigned first, end;
    uint64_t last_due_ns;
    bool takes_bursts;
};

static int netlink;
static int queue_count;
static struct setting *settings;
static struct queue *queues;
static _Alignas(struct nlmsghdr) char out[OUT_BYTES];
static size_t out_used;

static void fail(const char *what)
{
    fprintf(stderr, "delayline: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* xorshift64* of Marsaglia and Vigna: losses need no better. */
static uint32_t draw(uint32_t below)
{
    static uint64_t state = 0x9E3779B97F4A7C15u;
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (uint32_t)((state * 0x2545F4914F6CDD1Du) >> 32) % below;
}

/* ---- messages to the kernel ---- */

static void flush(void)
{
    struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
    if (out_used && sendto(netlink, out, out_used, 0, (struct sockaddr *)&kernel, sizeof kernel) < 0)
        perror("delayline: a message to the kernel");
    out_used = 0;
}

static struct nlmsghdr *message(int type, int queue)
{
    if (out_used + 256 > OUT_BYTES)
        flush();
    struct nlmsghdr *header = (struct nlmsghdr *)(out + out_used);
    memset(header, 0, 256);
    header->nlmsg_type = (uint16_t)(NFNL_SUBSYS_QUEUE << 8 | type);
    header->nlmsg_flags = NLM_F_REQUEST;
    header->nlmsg_len = NLMSG_LENGTH(sizeof(struct nfgenmsg));
    struct nfgenmsg *about = NLMSG_DATA(header);
    about->nfgen_family = AF_UNSPEC;
    about->version = NFNETLINK_V0;
    about->res_id = htons((uint16_t)queue);
    return header;
}

static void add(struct nlmsghdr *header, int type, const void *data, size_t size)
{
    struct nlattr *attribute = (struct nlattr *)((char *)header + NLMSG_ALIGN(header->nlmsg_len));
    attribute->nla_type = (uint16_t)type;
    attribute->nla_len = (uint16_t)(NLA_HDRLEN + size);
    memcpy((char *)attribute + NLA_HDRLEN, data, size);
    header->nlmsg_len = (uint32_t)(NLMSG_ALIGN(header->nlmsg_len) + NLA_ALIGN(attribute->nla_len));
}

static void finish(struct nlmsghdr *header)
{
    out_used += NLMSG_ALIGN(header->nlmsg_len);
}

static void say_verdict(int queue, uint32_t id, uint32_t verdict)
{
    struct nlmsghdr *header = message(NFQNL_MSG_VERDICT, queue);
    struct nfqnl_msg_verdict_hdr body = {.verdict = htonl(verdict), .id = id};
    add(header, NFQA_VERDICT_HDR, &body, sizeof body);
    finish(header);
}

/* ---- setting up ---- */

/* Wait for the kernel's answer to a message that asked for one. */
static void expect_consent(const char *what)
{
    struct {
        struct nlmsghdr header;
        struct nlmsgerr error;
        char rest[256];
    } answer;
    do {
        if (recv(netlink, &answer, sizeof answer, 0) < 0)
            fail(what);
    } while (answer.header.nlmsg_type != NLMSG_ERROR);
    if (answer.error.error) {
        errno = -answer.error.error;
        fail(what);
    }
}

static void want_bursts(int number, bool wanted)
{
    uint32_t mask = htonl(NFQA_CFG_F_GSO), flags = wanted ? mask : 0;
    struct nlmsghdr *header = message(NFQNL_MSG_CONFIG, number);
    add(header, NFQA_CFG_MASK, &mask, sizeof mask);
    add(header, NFQA_CFG_FLAGS, &flags, sizeof flags);
    finish(header);
    queues[number].takes_bursts = wanted;
}

static void open_queue(int number)
{
    struct nlmsghdr *header = message(NFQNL_MSG_CONFIG, number);
    struct nfqnl_msg_config_cmd bind = {.command = NFQNL_CFG_CMD_BIND, .pf = htons(AF_INET)};
    header->nlmsg_flags |= NLM_F_ACK;
    add(header, NFQA_CFG_CMD, &bind, sizeof bind);
    finish(header);
    flush();
    expect_consent("a queue is refused");

    struct nfqnl_msg_config_params numbers_only = {.copy_range = 0, .copy_mode = NFQNL_COPY_META};
    uint32_t length = htonl(HELD);
    header = message(NFQNL_MSG_CONFIG, number);
    add(header, NFQA_CFG_PARAMS, &numbers_only, sizeof numbers_only);
    add(header, NFQA_CFG_QUEUE_MAXLEN, &length, sizeof length);
    finish(header);
    want_bursts(number, true);
    flush();
}

static void open_netlink(void)
{
    struct sockaddr_nl own = {.nl_family = AF_NETLINK};
    int size = RECEIVE_BYTES, yes = 1;
    netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
    if (netlink < 0 || bind(netlink, (struct sockaddr *)&own, sizeof own))
        fail("no connection to netfilter");
    setsockopt(netlink, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
    setsockopt(netlink, SOL_NETLINK, NETLINK_NO_ENOBUFS, &yes, sizeof yes);
}

static void map_settings(const char *path)
{
    int file = open(path, O_RDWR | O_CLOEXEC);
    size_t size = (size_t)queue_count * sizeof *settings;
    if (file < 0 || lseek(file, 0, SEEK_END) < (off_t)size)
        fail(path);
    settings = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (settings == MAP_FAILED)
        fail(path);
    close(file);
}

/* ---- packets ---- */

static void hold(int number, uint32_t id)
{
    struct setting *setting = &settings[number];
    struct queue *queue = &queues[number];
    bool is_lost = setting->loss_ppm && draw(MILLION) < setting->loss_ppm;
    setting->packets++;
    setting->lost += is_lost;
    if (queue->takes_bursts != !setting->loss_ppm)
        want_bursts(number, !setting->loss_ppm);
    if (queue->end - queue->first == HELD) { /* more than a wire can hold */
        say_verdict(number, id, NF_DROP);
        return;
    }
    uint64_t due = now_ns() + 1000ull * setting->delay_us;
    if (due < queue->last_due_ns)
        due = queue->last_due_ns;
    queue->last_due_ns = due;
    queue->held[queue->end++ % HELD] = (struct packet){due, id, is_lost ? NF_DROP : NF_ACCEPT};
}

/* Let everything go that is due; return when the next will be, or UINT64_MAX. */
static uint64_t release(void)
{
    uint64_t now = now_ns(), next = UINT64_MAX;
    for (int number = 0; number < queue_count; number++) {
        struct queue *queue = &queues[number];
        for (; queue->first != queue->end; queue->first++) {
            struct packet *packet = &queue->held[queue->first % HELD];
            if (packet->due_ns > now) {
                next = packet->due_ns < next ? packet->due_ns : next;
                break;
            }
            say_verdict(number, packet->id, packet->verdict);
        }
    }
    flush();
    return next;
}

static void read_packet(const struct nlmsghdr *header)
{
    const struct nfgenmsg *about = NLMSG_DATA(header);
    if (header->nlmsg_type != (NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_PACKET) || ntohs(about->res_id) >= queue_count)
        return;
    const char *end = (const char *)header + header->nlmsg_len;
    const char *at = (const char *)about + NLMSG_ALIGN(sizeof *about);
    while (at + NLA_HDRLEN <= end) {
        const struct nlattr *attribute = (const struct nlattr *)at;
        if (attribute->nla_len < NLA_HDRLEN)
            return;
        if ((attribute->nla_type & NLA_TYPE_MASK) == NFQA_PACKET_HDR) {
            struct nfqnl_msg_packet_hdr packet;
            memcpy(&packet, at + NLA_HDRLEN, sizeof packet);
            hold(ntohs(about->res_id), packet.packet_id);
            return;
        }
        at += NLA_ALIGN(attribute->nla_len);
    }
}

static void read_packets(void)
{
    static _Alignas(struct nlmsghdr) char room[AT_ONCE][PACKET_BYTES];
    struct iovec parts[AT_ONCE];
    struct mmsghdr messages[AT_ONCE];
    memset(messages, 0, sizeof messages);
    for (int i = 0; i < AT_ONCE; i++) {
        parts[i] = (struct iovec){room[i], PACKET_BYTES};
        messages[i].msg_hdr.msg_iov = &parts[i];
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    int count = recvmmsg(netlink, messages, AT_ONCE, MSG_DONTWAIT, NULL);
    for (int i = 0; i < count; i++) {
        unsigned left = messages[i].msg_len;
        for (struct nlmsghdr *header = (void *)room[i]; NLMSG_OK(header, left); header = NLMSG_NEXT(header, left))
            read_packet(header);
    }
}

static void wait_until(uint64_t moment_ns)
{
    struct pollfd socket = {.fd = netlink, .events = POLLIN};
    if (moment_ns == UINT64_MAX) {
        ppoll(&socket, 1, NULL, NULL);
        return;
    }
    uint64_t now = now_ns(), left = moment_ns > now ? moment_ns - now : 0;
    struct timespec time = {.tv_sec = (time_t)(left / 1000000000u), .tv_nsec = (long)(left % 1000000000u)};
    ppoll(&socket, 1, &time, NULL);
}

int main(int count, char **words)
{
    queue_count = count == 3 ? atoi(words[2]) : 0;
    if (queue_count < 1 || queue_count > 65535) {
        fprintf(stderr, "usage: delayline SETTINGS QUEUES, from 1 to 65535\n");
        return 2;
    }
    map_settings(words[1]);
    queues = calloc((size_t)queue_count, sizeof *queues);
    struct packet *room = calloc((size_t)queue_count * HELD, sizeof *room);
    if (!queues || !room)
        fail("no memory");
    open_netlink();
    for (int number = 0; number < queue_count; number++) {
        queues[number].held = room + (size_t)number * HELD;
        open_queue(number);
    }
    struct sched_param first = {.sched_priority = PRIORITY};
    if (sched_setscheduler(0, SCHED_FIFO, &first))
        fail("real-time priority is refused");
    puts("ready");
    fflush(stdout);
    for (;;) {
        wait_until(release());
        read_packets();
    }
}
