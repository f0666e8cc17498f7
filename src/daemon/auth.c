/* Authentication of requests: unix socket peers, API keys, or everybody on this machine.
 *
 * Invariants
 *  1. A key record is used for at most STALE_NS after it was read from the store, so that a revocation takes effect within a second
 *     even when another process made it; revocations through this process take effect at once.
 *  2. Records are written by one fiber at a time (the write lock), each time from a fresh read: noting the last use can never
 *     bring a revoked key back.
 *  3. `mutex` guards the cache and the lock's queue; it is never held across a wait. */
#include "daemon/auth.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/list.h"
#include "base/log.h"
#include "base/map.h"
#include "base/utf8.h"
#include "base/uuid7.h"
#include "rt/fiber.h"
#include "rt/wait.h"

#define STALE_NS 1000000000ull
#define USED_EVERY_US 60000000ll
#define CACHE_MAX 4096
#define USER_MAX 256

struct cached {
	struct key_record k; /* slices point into text */
	uint64_t read_ns;
	_Atomic int64_t noted_us; /* last use that was noted, or is being noted */
	char text[];
};

struct waiter {
	struct list node;
	struct event ev;
};

struct auth {
	struct store *store;
	struct auth_options opt;
	int64_t uid;
	pthread_mutex_t mutex;
	struct map cache;   /* id -> struct cached */
	uint64_t forgotten; /* how often: what was read before the last time is not kept */
	bool writing;
	struct list waiters;
	atomic_uint_fast64_t failures;
};

/* ------------------------------------------------------------------ keys */

void apikey_make(char text[APIKEY_TEXT + 1], char id[APIKEY_ID + 1], uint8_t hash[32])
{
	uint8_t raw[32], id_raw[4];
	random_bytes(id_raw, sizeof id_raw);
	random_bytes(raw, sizeof raw);
	hex_encode(id_raw, sizeof id_raw, id);
	memcpy(text, "cn_", 3);
	memcpy(text + 3, id, APIKEY_ID);
	text[11] = '_';
	base64url_encode(raw, sizeof raw, text + 12);
	sha256_of(str_of(text + 12, 43), hash);
	explicit_bzero(raw, sizeof raw);
}

bool apikey_parse(struct str text, struct str *id, uint8_t hash[32])
{
	uint8_t raw[33], id_raw[4];
	size_t n = sizeof raw;
	if (text.n != APIKEY_TEXT || !str_starts(text, STR("cn_")) || text.p[11] != '_')
		return false;
	*id = str_sub(text, 3, 11);
	if (!hex_decode(*id, id_raw, sizeof id_raw))
		return false;
	for (size_t i = 0; i < id->n; i++)
		if (id->p[i] >= 'A' && id->p[i] <= 'F')
			return false;
	struct str secret = str_sub(text, 12, text.n);
	bool ok = base64url_decode(secret, raw, &n) && n == 32;
	explicit_bzero(raw, sizeof raw);
	if (ok)
		sha256_of(secret, hash);
	return ok;
}

static const struct {
	struct str name;
	unsigned right;
} right_names[] = {{STR_INIT("read"), RIGHT_READ}, {STR_INIT("write"), RIGHT_WRITE}, {STR_INIT("admin"), RIGHT_ADMIN}};

enum err rights_parse(struct str s, unsigned *out)
{
	unsigned rights = 0;
	struct str word;
	for (bool more = true; more;) {
		more = str_cut(s, ',', &word, &s);
		word = str_trim(word);
		unsigned r = 0;
		for (size_t i = 0; i < 3; i++)
			if (str_eq(word, right_names[i].name))
				r = right_names[i].right;
		if (r == 0)
			return err_field(E_INVALID, "/rights", -1,
					 "rights are read, write and admin, separated by commas; got \"%.*s\"",
					 (int)(word.n > 40 ? 40 : word.n), word.p ? word.p : "");
		rights |= r;
	}
	*out = rights;
	return OK;
}

void rights_format(unsigned rights, struct buf *out)
{
	bool first = true;
	for (size_t i = 0; i < 3; i++) {
		if (!(rights & right_names[i].right))
			continue;
		buf_lit(out, first ? "" : ",");
		buf_str(out, right_names[i].name);
		first = false;
	}
}

/* ----------------------------------------------------------------- cache */

static struct cached *cached_new(const struct key_record *k)
{
	struct cached *c = malloc(sizeof *c + k->id.n + k->name.n + k->tenant.n + k->user.n + 1);
	if (c == NULL)
		return NULL;
	c->k = *k;
	c->read_ns = clock_mono_ns();
	atomic_init(&c->noted_us, k->used_us);
	char *p = c->text;
	struct str *parts[] = {&c->k.id, &c->k.name, &c->k.tenant, &c->k.user};
	for (size_t i = 0; i < 4; i++) {
		if (parts[i]->n)
			memcpy(p, parts[i]->p, parts[i]->n);
		parts[i]->p = p;
		p += parts[i]->n;
	}
	return c;
}

static void cache_drop_all(struct auth *au)
{
	size_t it = 0;
	struct str key;
	void *v;
	while (map_next(&au->cache, &it, &key, &v))
		free(v);
	map_release(&au->cache);
	map_init(&au->cache);
}

static void cache_forget(struct auth *au, struct str id)
{
	pthread_mutex_lock(&au->mutex);
	au->forgotten++;
	free(map_del(&au->cache, id));
	pthread_mutex_unlock(&au->mutex);
}

static uint64_t cache_age(struct auth *au)
{
	pthread_mutex_lock(&au->mutex);
	uint64_t age = au->forgotten;
	pthread_mutex_unlock(&au->mutex);
	return age;
}

/* age: of before k was read. Whatever was forgotten since may be k, revoked. */
static void cache_add(struct auth *au, const struct key_record *k, uint64_t age)
{
	struct cached *c = cached_new(k);
	void *old = NULL;
	if (c == NULL)
		return; /* without a cache it is only slower */
	pthread_mutex_lock(&au->mutex);
	if (au->cache.count >= CACHE_MAX)
		cache_drop_all(au);
	if (au->forgotten != age || map_put(&au->cache, k->id, c, &old) != OK) {
		free(c);
	} else if (old) {
		int64_t noted = atomic_load(&((struct cached *)old)->noted_us);
		if (noted > k->used_us)
			atomic_store(&c->noted_us, noted);
		free(old);
	}
	pthread_mutex_unlock(&au->mutex);
}

/* A copy of the cached record in a. *note: its use has to be written down (by the caller, nobody else will). */
static bool cache_get(struct auth *au, struct arena *a, struct str id, int64_t now_us, struct key_record *out, bool *note)
{
	bool hit = false;
	*note = false;
	pthread_mutex_lock(&au->mutex);
	struct cached *c = map_get(&au->cache, id);
	if (c && clock_mono_ns() - c->read_ns < STALE_NS) {
		*out = c->k;
		struct str *parts[] = {&out->id, &out->name, &out->tenant, &out->user};
		hit = true;
		for (size_t i = 0; i < 4; i++) {
			*parts[i] = arena_str(a, *parts[i]);
			hit = hit && parts[i]->p;
		}
		if (hit && now_us - atomic_load(&c->noted_us) >= USED_EVERY_US) {
			atomic_store(&c->noted_us, now_us);
			*note = true;
		}
	}
	pthread_mutex_unlock(&au->mutex);
	return hit;
}

/* ------------------------------------------------------------ write lock */

static void write_lock(struct auth *au)
{
	struct waiter w;
	pthread_mutex_lock(&au->mutex);
	bool wait = au->writing;
	if (wait) {
		event_init(&w.ev);
		list_add_tail(&au->waiters, &w.node);
	}
	au->writing = true;
	pthread_mutex_unlock(&au->mutex);
	if (wait)
		event_wait(&w.ev); /* the lock is handed over, not contended for again */
}

static void write_unlock(struct auth *au)
{
	pthread_mutex_lock(&au->mutex);
	struct waiter *w = NULL;
	if (list_empty(&au->waiters)) {
		au->writing = false;
	} else {
		w = CONTAINER(au->waiters.next, struct waiter, node);
		list_del(&w->node);
	}
	pthread_mutex_unlock(&au->mutex);
	if (w)
		event_set(&w->ev);
}

/* Noting a use is no part of the request: a fiber of its own does it. */
struct use_note {
	struct loop_task task;
	struct auth *au;
	int64_t at_us;
	char id[APIKEY_ID];
};

static void note_fiber(void *arg)
{
	struct use_note *u = arg;
	struct arena a;
	struct key_record k;
	bool found;
	arena_init(&a, 64 << 10);
	write_lock(u->au);
	enum err e = u->au->store->ops->key_get(u->au->store, &a, str_of(u->id, APIKEY_ID), &k, &found);
	if (e == OK && found && k.revoked_us == 0 && k.used_us < u->at_us) {
		k.used_us = u->at_us;
		e = u->au->store->ops->key_put(u->au->store, &k);
	}
	write_unlock(u->au);
	if (e != OK)
		LOG(LOG_WARN, "auth", "the last use of an API key could not be noted", LF_C("err", err_name(e)));
	arena_release(&a);
	free(u);
}

static void note_spawn(void *arg)
{
	if (fiber_spawn(note_fiber, arg, NULL, NULL) != OK)
		free(arg);
}

static void note_use(struct auth *au, struct str id, int64_t at_us)
{
	struct use_note *u = loop_current() ? malloc(sizeof *u) : NULL;
	if (u == NULL)
		return;
	*u = (struct use_note){.task = {.fn = note_spawn, .arg = u}, .au = au, .at_us = at_us};
	memcpy(u->id, id.p, APIKEY_ID);
	loop_post(loop_current(), &u->task);
}

/* -------------------------------------------------------------- requests */

/* All failures say the same, so that they tell nothing about which keys exist. */
/* No key's id: those are hex digits. */
static const struct str socket_id = STR_INIT("socket");

static enum err bad_key(struct auth *au)
{
	atomic_fetch_add(&au->failures, 1);
	return err_kind(E_DENIED, ERR_UNAUTHENTICATED, "the API key is not valid");
}

static enum err key_principal(struct auth *au, struct arena *a, struct str text, struct principal *out)
{
	struct str id;
	uint8_t hash[32];
	struct key_record k;
	bool note, found = true;
	int64_t now = clock_wall_us();
	if (!apikey_parse(text, &id, hash))
		return bad_key(au);
	uint64_t age = cache_age(au);
	if (!cache_get(au, a, id, now, &k, &note)) {
		TRY(au->store->ops->key_get(au->store, a, id, &k, &found));
		struct key_record again;
		if (found) {
			cache_add(au, &k, age);
			(void)cache_get(au, a, id, now, &again, &note); /* asks whether the use is to be noted */
		}
	}
	if (!found || !secret_eq(hash, k.hash, sizeof hash) || k.revoked_us != 0 || (k.expires_us != 0 && k.expires_us <= now))
		return bad_key(au);
	if (note)
		note_use(au, id, now);
	*out = (struct principal){.tenant = k.tenant, .user = k.user, .user_bound = k.user.n > 0, .rights = k.rights, .id = k.id};
	return OK;
}

/* The header's user, where the credential leaves it open. */
static enum err choose_user(struct arena *a, struct http_req *rq, struct principal *out)
{
	struct str user = rq_header(rq, "X-Cenote-User");
	if (user.n == 0 || (out->user_bound && str_eq(user, out->user)))
		return OK;
	if (out->user_bound)
		return err_set(E_DENIED, "this API key belongs to another user than X-Cenote-User names");
	bool bad = user.n > USER_MAX || !utf8_valid(user);
	for (size_t i = 0; i < user.n && !bad; i++)
		bad = (unsigned char)user.p[i] < 0x20 || user.p[i] == 0x7f;
	if (bad)
		return err_field(E_INVALID, "X-Cenote-User", -1,
				 "X-Cenote-User must be 1 to %d bytes of UTF-8 without control characters", USER_MAX);
	out->user = arena_str(a, user);
	return out->user.p ? OK : E_NOMEM;
}

static struct str credential(struct http_req *rq)
{
	struct str h = rq_header(rq, "Authorization"), scheme, rest;
	if (str_cut(h, ' ', &scheme, &rest) && str_ieq(scheme, STR("Bearer")))
		return str_trim(rest);
	return rq_header(rq, "X-API-Key");
}

enum err auth_request(void *ctx, struct arena *a, struct http_req *rq, int64_t peer_uid, struct principal *out)
{
	struct auth *au = ctx;
	struct str key = credential(rq);
	bool local = peer_uid >= 0 && (peer_uid == au->uid || peer_uid == 0);
	/* A key that was sent says who asks, also on the unix socket; only without keys at all it has no meaning. */
	if (key.n && (au->opt.keys || local) && str_starts(key, STR("cn_"))) {
		TRY(key_principal(au, a, key, out));
	} else if (local) {
		*out = (struct principal){.tenant = STR("default"), .rights = RIGHT_ALL, .id = socket_id};
	} else if (!au->opt.keys) {
		*out = (struct principal){.tenant = STR("default"), .rights = RIGHT_READ | RIGHT_WRITE, .id = STR("local")};
	} else if (key.n) {
		return bad_key(au);
	} else {
		atomic_fetch_add(&au->failures, 1);
		return err_kind(E_DENIED, ERR_UNAUTHENTICATED, "an API key is needed: Authorization: Bearer cn_... or X-API-Key");
	}
	return choose_user(a, rq, out);
}

/* ---------------------------------------------------------------- admin */

bool auth_administers(const struct principal *who, struct str tenant)
{
	return (who->rights & RIGHT_ADMIN) && (str_eq(who->id, socket_id) || str_eq(who->tenant, tenant));
}

struct collision {
	struct arena *a;
	const struct key_record *k;
	struct str label;
	bool found, failed;
};

static bool collides(void *ctx, const struct key_record *other)
{
	struct collision *c = ctx;
	if (other->revoked_us || !other->user.n || !str_eq(other->tenant, c->k->tenant) || str_eq(other->user, c->k->user))
		return true;
	struct str label = user_label(c->a, other->user);
	c->failed = label.p == NULL;
	c->found = str_eq(label, c->label) || str_eq(other->user, c->label) || str_eq(label, c->k->user);
	return !c->found && !c->failed;
}

static enum err user_check(struct auth *au, struct arena *a, const struct key_record *k)
{
	struct collision c = {.a = a, .k = k};
	if (!k->user.n)
		return OK;
	if (k->rights & RIGHT_ADMIN)
		return err_field(E_INVALID, "/rights", -1, "a key that belongs to one user cannot have the right admin");
	if (user_reserved(k->user))
		return err_field(
			E_INVALID, "/user", -1,
			"a key cannot belong to the user \"%.*s\": that is a label of Cenote's own namespaces, and it would reach "
			"what is everybody's",
			STR_ARG(k->user));
	c.label = user_label(a, k->user);
	if (!c.label.p)
		return E_NOMEM;
	TRY(au->store->ops->key_list(au->store, collides, &c));
	if (c.failed)
		return E_NOMEM;
	return c.found ? err_field(E_CONFLICT, "/user", -1,
				   "a valid key belongs to another user whose namespace label is %.*s too: they would reach each "
				   "other's memory",
				   STR_ARG(c.label))
		       : OK;
}

enum err auth_key_create(struct auth *au, struct arena *a, const struct principal *who, struct key_record *k, struct str *text)
{
	char buf[APIKEY_TEXT + 1], id[APIKEY_ID + 1];
	struct key_record there;
	bool found = true;
	TRY(tenant_check(k->tenant));
	if (!auth_administers(who, k->tenant))
		return err_set(E_DENIED, "this key administers the tenant %.*s only", STR_ARG(who->tenant));
	write_lock(au);
	enum err e = user_check(au, a, k);
	for (int i = 0; i < 8 && e == OK && found; i++) {
		apikey_make(buf, id, k->hash);
		e = au->store->ops->key_get(au->store, a, str_of(id, APIKEY_ID), &there, &found);
	}
	if (e == OK && found)
		e = err_set(E_INTERNAL, "no free key id found");
	if (e == OK) {
		k->id = arena_str(a, str_of(id, APIKEY_ID));
		k->created_us = clock_wall_us();
		*text = arena_str(a, str_of(buf, APIKEY_TEXT));
		e = k->id.p && text->p ? au->store->ops->key_put(au->store, k) : E_NOMEM;
	}
	write_unlock(au);
	explicit_bzero(buf, sizeof buf);
	return e;
}

enum err auth_key_revoke(struct auth *au, struct arena *a, const struct principal *who, struct str id, struct key_record *k)
{
	bool found = false;
	write_lock(au);
	enum err e = au->store->ops->key_get(au->store, a, id, k, &found);
	if (e == OK && (!found || !auth_administers(who, k->tenant)))
		e = err_set(E_NOT_FOUND, "there is no API key with the id %.*s", (int)(id.n > 40 ? 40 : id.n), id.p ? id.p : "");
	if (e == OK && k->revoked_us == 0) {
		k->revoked_us = clock_wall_us();
		e = au->store->ops->key_put(au->store, k);
	}
	write_unlock(au);
	cache_forget(au, id);
	return e;
}

void auth_metrics(struct auth *au, struct buf *out)
{
	buf_lit(out, "# HELP cenote_auth_failures_total Requests refused for missing or bad credentials.\n"
		     "# TYPE cenote_auth_failures_total counter\ncenote_auth_failures_total ");
	buf_u64(out, atomic_load(&au->failures));
	buf_byte(out, '\n');
}

enum err auth_new(struct store *store, const struct auth_options *opt, struct auth **out)
{
	struct auth *au = calloc(1, sizeof *au);
	if (au == NULL)
		return err_set(E_LIMIT, "out of memory");
	au->store = store;
	au->opt = *opt;
	au->uid = (int64_t)geteuid();
	pthread_mutex_init(&au->mutex, NULL);
	map_init(&au->cache);
	list_init(&au->waiters);
	*out = au;
	return OK;
}

void auth_free(struct auth *au)
{
	if (au == NULL)
		return;
	cache_drop_all(au);
	map_release(&au->cache);
	pthread_mutex_destroy(&au->mutex);
	free(au);
}
