/* JSON Lines of items and messages. Items pass as they are; messages get what a line alone cannot know: an id that stays the same
 * when the file is read again, and the user of the command line. */
#include "cli/readers.h"

#include "base/hash.h"
#include "base/json/json.h"
#include "core/session.h"

#define LINE_ARENA ((size_t)512 << 20)

struct jsonl {
	const struct read_options *o;
	const struct sink *k;
	struct arena a;	 /* of one line */
	struct map seen; /* default id of ordinal 0 -> how many equal messages came before */
	bool is_export, ended;
	struct sha256 hash;
};

/* {"sha256":"..."} and nothing else. */
static bool is_footer(struct arena *a, struct jval v, struct str *digest)
{
	struct jval d = j_get(v, STR("sha256"));
	if (!j_is(d, JSON_STRING) || j_node(v)->count != 1)
		return false;
	*digest = j_str(a, d);
	return digest->n == SHA256_HEX;
}

static enum err check_digest(struct sha256 *h, struct str digest)
{
	uint8_t sum[SHA256_BYTES];
	char hex[SHA256_HEX + 1];
	sha256_end(h, sum);
	hex_encode(sum, sizeof sum, hex);
	return str_eq(str_of(hex, SHA256_HEX), digest)
		       ? OK
		       : err_set(E_CORRUPT, "the export is damaged: its lines do not have the SHA-256 of its last line");
}

static enum err give(struct jsonl *r, struct str json, uint64_t unit, struct str name, bool is_message)
{
	struct record rec = {json, unit, hash64(name), is_message};
	return r->k->record(r->k->ctx, &rec);
}

static enum err stable_id(struct jsonl *r, struct message *m)
{
	struct str first = message_default_id(&r->a, m, 0);
	if (first.p == NULL)
		return E_NOMEM;
	uintptr_t before = (uintptr_t)map_get(&r->seen, first);
	TRY(map_put(&r->seen, first, (void *)(before + 1), NULL));
	m->mid = before ? message_default_id(&r->a, m, before) : first;
	return m->mid.p ? OK : E_NOMEM;
}

static enum err message(struct jsonl *r, struct jval v, struct str text, uint64_t unit)
{
	struct message m = {0};
	enum err e = message_from_json(&r->a, v, "", !r->o->lenient, &m);
	if (e != OK)
		return e == E_INVALID || e == E_LIMIT ? r->k->bad(r->k->ctx, unit, e) : e;
	bool same = m.mid.n > 0 && (m.user.n > 0 || r->o->user.n == 0);
	if (same)
		return give(r, text, unit, m.thread, true);
	if (m.mid.n == 0)
		TRY(stable_id(r, &m));
	if (m.user.n == 0)
		m.user = r->o->user;
	struct buf b;
	struct jw w;
	buf_init(&b, &r->a, LINE_ARENA);
	jw_init(&w, &b);
	message_to_json(&w, &m);
	return b.err != OK ? E_NOMEM : give(r, buf_slice(&b), unit, m.thread, true);
}

/* The item's name as it is written: enough to keep what has one name in order. */
static enum err item(struct jsonl *r, struct jval v, struct str text, uint64_t unit)
{
	struct jval ns = j_get(v, STR("namespace")), key = j_get(v, STR("key"));
	if (!j_ok(ns) || !j_ok(key)) {
		err_set(E_INVALID, "neither an item (namespace, key, value) nor a message (thread, role, content)");
		return r->k->bad(r->k->ctx, unit, E_INVALID);
	}
	struct str name = arena_printf(&r->a, "%.*s %.*s", STR_ARG(j_raw(ns)), STR_ARG(j_raw(key)));
	return name.p ? give(r, text, unit, name, false) : E_NOMEM;
}

static enum err line(struct jsonl *r, struct str raw, uint64_t unit)
{
	const struct json_limits lim = {80, 2000000, SOURCE_PIECE_MAX, 0};
	struct str text = str_trim(raw), digest;
	struct json doc;
	if (text.n == 0)
		return OK;
	enum err e = json_parse(&r->a, text, &lim, &doc);
	if (e == OK && !j_is(json_root(&doc), JSON_OBJECT))
		e = err_set(E_INVALID, "a line must be a JSON object");
	if (e != OK)
		return r->k->bad(r->k->ctx, unit, e);
	struct jval v = json_root(&doc);
	if (unit == 1 && j_ok(j_get(v, STR("cenote_export")))) {
		int64_t version;
		if (!j_i64(j_get(v, STR("cenote_export")), &version) || version != 1)
			return err_set(E_INVALID, "the export is of a version that this program does not know");
		r->is_export = true;
		sha256_init(&r->hash);
		return OK;
	}
	if (r->is_export && is_footer(&r->a, v, &digest)) {
		r->ended = true;
		return check_digest(&r->hash, digest);
	}
	if (j_ok(j_get(v, STR("thread"))) || j_ok(j_get(v, STR("role"))))
		return message(r, v, text, unit);
	return item(r, v, text, unit);
}

static void end_hash(struct jsonl *r)
{
	uint8_t sum[SHA256_BYTES];
	if (r->is_export && !r->ended)
		sha256_end(&r->hash, sum);
}

enum err read_jsonl(struct source *s, const struct read_options *o, const struct sink *k)
{
	struct jsonl r = {.o = o, .k = k};
	struct str raw;
	bool more = true;
	enum err e = OK;
	arena_init(&r.a, LINE_ARENA);
	map_init(&r.seen);
	for (;;) {
		CHECK(source_line(s, &raw, &more));
		if (!more)
			break;
		if (r.ended) {
			e = err_set(E_CORRUPT, "line %llu: there are lines behind the export's checksum",
				    (unsigned long long)s->line);
			goto out;
		}
		CHECK(line(&r, raw, s->line));
		if (r.is_export && !r.ended) {
			sha256_add(&r.hash, raw.p, raw.n);
			sha256_add(&r.hash, "\n", 1);
		}
		arena_clear(&r.a);
	}
	if (r.is_export && !r.ended)
		e = err_set(E_CORRUPT, "the export is cut off: its last line, the checksum, is missing");
out:
	if (r.is_export && !r.ended)
		end_hash(&r);
	map_release(&r.seen);
	arena_release(&r.a);
	return e;
}

/* ---------------------------------------------------------- verification */

static enum err ignore_record(void *ctx, const struct record *rec)
{
	(void)ctx;
	(void)rec;
	return OK;
}

static enum err ignore_bad(void *ctx, uint64_t unit, enum err e)
{
	(void)ctx;
	(void)unit;
	(void)e;
	return OK;
}

enum err verify_export(struct source *s, bool *is_export)
{
	static const struct read_options o = {.lenient = true};
	static const struct sink k = {ignore_record, ignore_bad, NULL};
	struct str head;
	TRY(source_peek(s, 16, &head));
	*is_export = str_starts(head, STR("{\"cenote_export\""));
	return *is_export ? read_jsonl(s, &o, &k) : OK;
}
