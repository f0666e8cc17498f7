/* demo tools: the rows of the sample tools, written into the store, or taken out of it. */
#include <stdio.h>

#include "cli/peer.h"
#include "core/memory.h"
#include "core/tool.h"

/* A row of user_info; its key is the address. */
static const struct {
	const char *ip, *id, *name, *email, *department, *host;
} users[] = {
	{"10.20.1.14", "u-1001", "Mara Lindqvist", "mara.lindqvist@example.com", "Finance", "fin-lt-014"},
	{"10.20.1.57", "u-1002", "Tomas Okafor", "tomas.okafor@example.com", "Finance", "fin-lt-057"},
	{"10.20.2.33", "u-1003", "Ines Carvalho", "ines.carvalho@example.com", "Engineering", "eng-ws-033"},
	{"10.20.2.78", "u-1004", "Jonas Weber", "jonas.weber@example.com", "Engineering", "eng-ws-078"},
	{"10.20.2.91", "u-1005", "Priya Raman", "priya.raman@example.com", "Engineering", "eng-lt-091"},
	{"10.20.3.12", "u-1006", "Luca Moretti", "luca.moretti@example.com", "Sales", "sal-lt-012"},
	{"10.20.3.45", "u-1007", "Aiko Tanaka", "aiko.tanaka@example.com", "Sales", "sal-lt-045"},
	{"10.20.4.8", "u-1008", "Samuel Boateng", "samuel.boateng@example.com", "Support", "sup-ws-008"},
	{"10.20.4.66", "u-1009", "Elena Petrova", "elena.petrova@example.com", "Support", "sup-ws-066"},
	{"10.20.5.21", "u-1010", "David Cohen", "david.cohen@example.com", "Operations", "ops-sv-021"},
};

/* A row of cyber_threat_detection. Two addresses belong to nobody in user_info. */
static const struct {
	const char *type, *severity, *detected_at, *source_ip, *destination_ip, *protocol, *action;
} threats[] = {
	{"Malware", "high", "2025-05-02T08:14:09Z", "10.20.1.14", "198.51.100.23", "HTTPS", "blocked"},
	{"Phishing", "medium", "2025-05-02T11:40:51Z", "10.20.3.12", "203.0.113.80", "SMTP", "quarantined"},
	{"Brute Force", "medium", "2025-05-03T02:05:33Z", "203.0.113.7", "10.20.5.21", "SSH", "blocked"},
	{"DDoS", "high", "2025-05-04T17:22:18Z", "198.51.100.9", "10.20.5.21", "UDP", "mitigated"},
	{"Malware", "critical", "2025-05-06T09:31:44Z", "10.20.2.78", "198.51.100.77", "HTTPS", "isolated"},
	{"Data Exfiltration", "critical", "2025-05-07T23:58:02Z", "10.20.1.57", "203.0.113.145", "FTP", "blocked"},
	{"Ransomware", "critical", "2025-05-09T06:12:27Z", "10.20.4.66", "10.20.4.8", "SMB", "isolated"},
	{"Phishing", "low", "2025-05-10T13:03:15Z", "10.20.3.45", "203.0.113.81", "SMTP", "quarantined"},
	{"Malware", "medium", "2025-05-12T15:47:36Z", "10.20.4.8", "198.51.100.24", "HTTP", "blocked"},
	{"Brute Force", "low", "2025-05-13T04:29:58Z", "10.20.2.33", "10.20.5.21", "RDP", "alerted"},
	{"Data Exfiltration", "high", "2025-05-15T20:16:40Z", "10.20.2.91", "203.0.113.146", "HTTPS", "alerted"},
	{"Malware", "high", "2025-05-18T10:55:12Z", "10.20.2.91", "198.51.100.78", "HTTPS", "blocked"},
};

static void member(struct jw *w, const char *name, const char *value)
{
	jw_key(w, name);
	jw_cstr(w, value);
}

static void begin(struct jw *w, bool remove, const char *ns, const char *key)
{
	jw_obj(w);
	member(w, "op", remove ? "delete" : "put");
	jw_key(w, "namespace");
	ns_to_json(w, str_c(ns));
	member(w, "key", key);
	if (remove)
		return;
	/* Not for searches: the rows are nobody's memory. */
	jw_key(w, "index");
	jw_bool(w, false);
	jw_key(w, "ttl_minutes");
	jw_i64(w, 0);
	jw_key(w, "value");
	jw_obj(w);
}

static void end(struct jw *w, bool remove)
{
	if (!remove)
		jw_end_obj(w);
	jw_end_obj(w);
}

static void put_users(struct jw *w, bool remove)
{
	for (size_t i = 0; i < sizeof users / sizeof users[0]; i++) {
		begin(w, remove, SAMPLE_USERS, users[i].ip);
		if (!remove) {
			member(w, "source_ip", users[i].ip);
			member(w, "user_id", users[i].id);
			member(w, "name", users[i].name);
			member(w, "email", users[i].email);
			member(w, "department", users[i].department);
			member(w, "hostname", users[i].host);
		}
		end(w, remove);
	}
}

static void put_threats(struct jw *w, bool remove)
{
	char id[32];

	for (size_t i = 0; i < sizeof threats / sizeof threats[0]; i++) {
		snprintf(id, sizeof id, "threat-%04zu", i + 1);
		begin(w, remove, SAMPLE_THREATS, id);
		if (!remove) {
			member(w, "threat_id", id);
			member(w, "threat_type", threats[i].type);
			member(w, "severity", threats[i].severity);
			member(w, "detected_at", threats[i].detected_at);
			member(w, "source_ip", threats[i].source_ip);
			member(w, "destination_ip", threats[i].destination_ip);
			member(w, "protocol", threats[i].protocol);
			member(w, "action", threats[i].action);
		}
		end(w, remove);
	}
}

static enum err demo(struct call *c)
{
	bool remove = call_has(c, "remove");
	struct http_reply r;
	struct buf b;
	struct jw w;

	buf_init(&b, &c->arena, (size_t)1 << 20);
	jw_init(&w, &b);
	jw_obj(&w);
	jw_key(&w, "operations");
	jw_arr(&w);
	put_users(&w, remove);
	put_threats(&w, remove);
	jw_end_arr(&w);
	jw_end_obj(&w);
	TRY(b.err);
	TRY(peer_open(c));
	TRY(peer_call(c, "POST", STR("/cenote/v1/batch?atomic=true"), NULL, buf_slice(&b), &r));
	if (!c->quiet)
		fprintf(stderr,
			remove ? "cenote: the %zu sample rows are removed\n"
			       : "cenote: %zu sample rows are stored; with the setting tools.samples the assistant has their "
				 "tools\n",
			sizeof users / sizeof users[0] + sizeof threats / sizeof threats[0]);
	return OK;
}

int run_demo_tools(struct call *c)
{
	enum err e = demo(c);

	return e == OK ? 0 : call_fail(c, e);
}
