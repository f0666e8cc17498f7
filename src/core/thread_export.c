/* Writing a thread as text. See thread_file.h.
 *
 *  1. What is listed when the export begins is exported; checkpoints that are removed meanwhile are left out.
 *  2. `seen` has (ns, channel, version) of every value that was written. */
#include "core/thread_file.h"

#include "base/hash.h"
#include "base/map.h"
#include "core/checkpoint.h"
#include "core/thread.h"

enum { PAGE = 500, CHUNK_LINES = 500 };
#define CHUNK_BYTES ((size_t)256 << 10)
#define LIST_BYTES ((size_t)32 << 20)
#define LINE_ARENA ((size_t)2 << 30)

enum stage { ST_HEAD, ST_MESSAGES, ST_ENTRIES, ST_CHECKPOINTS, ST_SUM, ST_DONE };

struct thread_export {
	struct memory *m;
	struct arena *a, line; /* line: for what is being written */
	const struct principal *who;
	struct thread_info info;
	enum stage stage;
	int64_t pos, entry;
	struct ckpt_ref *refs; /* newest first */
	size_t refs_n, refs_cap, left;
	struct map seen;
	struct sha256 sum;
	bool summed;
};

/* --------------------------------------------------------------- beginning */

static enum err add_ref(struct thread_export *x, const struct ckpt *c)
{
	if (x->refs_n == x->refs_cap) {
		size_t cap = x->refs_cap ? x->refs_cap * 2 : 64;
		struct ckpt_ref *grown = arena_grow(x->a, x->refs, x->refs_cap * sizeof *grown, cap * sizeof *grown);

		if (!grown)
			return E_NOMEM;
		x->refs = grown;
		x->refs_cap = cap;
	}
	x->refs[x->refs_n] = (struct ckpt_ref){arena_str(x->a, c->ns), arena_str(x->a, c->id)};
	return x->refs[x->refs_n].ns.p && x->refs[x->refs_n++].id.p ? OK : E_NOMEM;
}

static enum err list_refs(struct thread_export *x)
{
	struct ckpt_list q = {.thread = &x->info.thread, .limit = PAGE};
	bool more = true;

	while (more) {
		struct ckpt_full *v;
		size_t n;

		TRY(ckpt_list(x->m, &x->line, x->who, &q, LIST_BYTES, &v, &n, &more));
		for (size_t i = 0; i < n; i++)
			TRY(add_ref(x, &v[i].c));
		more = more || n == q.limit;
		if (n == 0)
			break;
		q.after.id = x->refs[x->refs_n - 1].id;
		q.after.ns = x->refs[x->refs_n - 1].ns;
		q.after.thread = x->info.thread;
		arena_clear(&x->line);
	}
	x->left = x->refs_n;
	return OK;
}

enum err thread_export_begin(struct memory *m, struct arena *a, const struct principal *who, struct str thread,
			     struct thread_export **out)
{
	struct thread_export *x = arena_zalloc(a, sizeof *x);
	bool found;
	enum err e;

	*out = NULL;
	if (!x)
		return E_NOMEM;
	x->m = m;
	x->a = a;
	x->who = who;
	TRY(thread_get(m, a, who, thread, &x->info, &found));
	if (!found)
		return err_set(E_NOT_FOUND, "there is no such thread");
	arena_init(&x->line, LINE_ARENA);
	map_init(&x->seen);
	sha256_init(&x->sum);
	e = x->info.checkpoints > 0 ? list_refs(x) : OK;
	if (e == OK)
		*out = x;
	else
		thread_export_end(x);
	return e;
}

void thread_export_end(struct thread_export *x)
{
	uint8_t digest[SHA256_BYTES];

	if (!x)
		return;
	if (!x->summed)
		sha256_end(&x->sum, digest);
	map_release(&x->seen);
	arena_release(&x->line);
}

/* ------------------------------------------------------------------- lines */

static void base64(struct buf *b, struct str bytes)
{
	char *to;

	buf_byte(b, '"');
	to = buf_room(b, (bytes.n + 2) / 3 * 4 + 1);
	if (to)
		buf_added(b, base64url_encode((const uint8_t *)bytes.p, bytes.n, to));
	buf_byte(b, '"');
}

/* Between tokens JSON may hold line breaks, inside strings never: so every break may become a blank. */
static void end_line(struct buf *b, size_t from)
{
	for (size_t i = from; i < b->n; i++)
		if (b->p[i] == '\n' || b->p[i] == '\r')
			b->p[i] = ' ';
	buf_byte(b, '\n');
}

static void write_head(struct thread_export *x, struct buf *b)
{
	const struct thread_info *t = &x->info;
	size_t from;
	struct jw w;

	buf_lit(b, "{\"cenote_thread\":1,\"thread\":");
	json_quote(b, t->thread);
	buf_lit(b, "}\n");
	from = b->n;
	jw_init(&w, b);
	buf_lit(b, "{\"record\":");
	jw_obj(&w);
	jw_key(&w, "user");
	if (t->user.n > 0)
		jw_str(&w, t->user);
	else
		jw_null(&w);
	jw_key(&w, "metadata");
	jw_raw(&w, t->metadata.n ? t->metadata : STR("{}"));
	jw_key(&w, "config");
	jw_raw(&w, t->config.n ? t->config : STR("{}"));
	jw_key(&w, "ttl_minutes");
	jw_double(&w, t->ttl_minutes);
	jw_key(&w, "ttl_strategy");
	jw_cstr(&w, t->ttl_strategy == TTL_KEEP_LATEST ? "keep_latest" : "delete");
	jw_end_obj(&w);
	buf_byte(b, '}');
	end_line(b, from);
}

static enum err write_messages(struct thread_export *x, struct buf *b)
{
	struct message *v;
	size_t n = 0;
	struct jw w;

	if (x->info.messages > 0)
		TRY(session_messages(x->m, &x->line, x->who, x->info.thread, x->pos, PAGE, &v, &n));
	for (size_t i = 0; i < n; i++) {
		size_t from = b->n;

		jw_init(&w, b);
		buf_lit(b, "{\"message\":");
		message_to_json(&w, &v[i]);
		buf_byte(b, '}');
		end_line(b, from);
		x->pos = v[i].pos + 1;
	}
	if (n < PAGE)
		x->stage = ST_ENTRIES;
	return OK;
}

static void write_entry(struct thread_export *x, struct buf *b, struct str data)
{
	static const struct json_limits lim = {1000, 4000000, ENTRY_MAX_BYTES, 0};
	size_t from = b->n;
	struct json doc;

	if (json_parse(&x->line, data, &lim, &doc) == OK) {
		buf_lit(b, "{\"entry\":");
		buf_str(b, j_raw(json_root(&doc)));
	} else {
		diag_clear();
		buf_lit(b, "{\"entry_text\":");
		json_quote(b, data);
	}
	buf_byte(b, '}');
	end_line(b, from);
}

static enum err write_entries(struct thread_export *x, struct buf *b)
{
	struct entry_list q = {.thread = x->info.thread, .after = x->entry, .limit = PAGE};
	struct session_entry *v;
	bool more = false;
	size_t n = 0;

	if (x->info.entries > 0)
		TRY(entries_page(x->m, &x->line, x->who, &q, &v, &n, &more));
	for (size_t i = 0; i < n; i++) {
		write_entry(x, b, v[i].data);
		x->entry = v[i].id;
	}
	if (!more)
		x->stage = ST_CHECKPOINTS;
	return OK;
}

/* ------------------------------------------------------------- checkpoints */

static enum err seen_key(struct thread_export *x, struct str ns, struct str channel, struct str version, struct str *out)
{
	struct buf b;

	buf_init(&b, &x->line, CKPT_NS_MAX + CHANNEL_MAX + 4096);
	buf_varint(&b, ns.n);
	buf_str(&b, ns);
	buf_varint(&b, channel.n);
	buf_str(&b, channel);
	buf_str(&b, version);
	*out = buf_slice(&b);
	return b.err;
}

/* Channels of the checkpoint whose versions were not written yet. */
static enum err new_channels(struct thread_export *x, const struct ckpt *c, struct str **out, size_t *n)
{
	static const struct json_limits lim = {1000, 4000000, CKPT_JSON_MAX, JSON_DUP_OK};
	struct json doc;
	struct jval key, v, versions;

	*n = 0;
	*out = NULL;
	TRY(json_parse(&x->line, c->checkpoint, &lim, &doc));
	versions = j_get(json_root(&doc), STR("channel_versions"));
	if (!j_is(versions, JSON_OBJECT))
		return OK;
	*out = ARENA_ARRAY(&x->line, struct str, j_node(versions)->count + 1);
	if (!*out)
		return E_NOMEM;
	for (struct j_iter it = j_iter(versions); j_next(&it, &key, &v);) {
		struct str name = j_str(&x->line, key), id;

		TRY(seen_key(x, c->ns, name, j_is(v, JSON_STRING) ? j_str(&x->line, v) : j_raw(v), &id));
		if (map_get(&x->seen, id))
			continue;
		TRY(map_put(&x->seen, id, x, NULL));
		(*out)[(*n)++] = name;
	}
	return OK;
}

static void write_values(struct buf *b, const struct ckpt *c, bool wanted)
{
	buf_lit(b, ",\"values\":[");
	for (size_t i = 0; wanted && i < c->values_n; i++) {
		buf_lit(b, i > 0 ? ",[" : "[");
		json_quote(b, c->values[i].channel);
		buf_byte(b, ',');
		json_quote(b, c->values[i].version);
		buf_byte(b, ',');
		json_quote(b, c->values[i].type);
		buf_byte(b, ',');
		base64(b, c->values[i].bytes);
		buf_byte(b, ']');
	}
	buf_byte(b, ']');
}

static void write_writes(struct buf *b, const struct ckpt *c)
{
	buf_lit(b, ",\"writes\":[");
	for (size_t i = 0; i < c->writes_n; i++) {
		const struct ckpt_pending *p = &c->writes[i];

		buf_lit(b, i > 0 ? ",[" : "[");
		json_quote(b, p->task_id);
		buf_byte(b, ',');
		json_quote(b, p->task_path);
		buf_printf(b, ",%d,", p->idx);
		json_quote(b, p->channel);
		buf_byte(b, ',');
		json_quote(b, p->type);
		buf_byte(b, ',');
		base64(b, p->bytes);
		buf_byte(b, ']');
	}
	buf_byte(b, ']');
}

static enum err write_checkpoint(struct thread_export *x, struct buf *b, const struct ckpt_ref *ref)
{
	struct ckpt_query q = {.thread = x->info.thread, .ns = ref->ns, .id = ref->id, .want = CK_WRITES_TOO};
	size_t from = b->n, fresh_n;
	struct ckpt_full f;
	struct str *fresh;
	bool found;

	TRY(ckpt_get(x->m, &x->line, x->who, &q, &f, &found));
	if (!found)
		return OK;
	TRY(new_channels(x, &f.c, &fresh, &fresh_n));
	if (fresh_n > 0) {
		q.want |= CK_VALUES;
		q.channels = fresh;
		q.channels_n = fresh_n;
		TRY(ckpt_get(x->m, &x->line, x->who, &q, &f, &found));
		if (!found)
			return OK;
	}
	buf_lit(b, "{\"checkpoint\":{\"ns\":");
	json_quote(b, f.c.ns);
	buf_lit(b, ",\"id\":");
	json_quote(b, f.c.id);
	buf_lit(b, ",\"parent\":");
	json_quote(b, f.c.parent);
	buf_lit(b, ",\"checkpoint\":");
	buf_str(b, f.c.checkpoint);
	buf_lit(b, ",\"metadata\":");
	buf_str(b, f.c.metadata.n ? f.c.metadata : STR("{}"));
	write_values(b, &f.c, fresh_n > 0);
	write_writes(b, &f.c);
	buf_lit(b, "}}");
	end_line(b, from);
	return OK;
}

static enum err write_checkpoints(struct thread_export *x, struct buf *b)
{
	size_t began = b->n;

	for (int lines = 0; x->left > 0 && lines < CHUNK_LINES && b->n - began < CHUNK_BYTES; lines++) {
		TRY(write_checkpoint(x, b, &x->refs[--x->left]));
		arena_clear(&x->line);
	}
	if (x->left == 0)
		x->stage = ST_SUM;
	return b->err;
}

static void write_sum(struct thread_export *x, struct buf *b)
{
	uint8_t digest[SHA256_BYTES];
	char hex[SHA256_HEX + 1];

	sha256_end(&x->sum, digest);
	x->summed = true;
	hex_encode(digest, sizeof digest, hex);
	buf_printf(b, "{\"sha256\":\"%s\"}\n", hex);
	x->stage = ST_DONE;
}

enum err thread_export_next(struct thread_export *x, struct buf *out, bool *done)
{
	size_t began = out->n;

	while (out->n == began && x->stage < ST_SUM) {
		if (x->stage == ST_HEAD) {
			write_head(x, out);
			x->stage = ST_MESSAGES;
		} else if (x->stage == ST_MESSAGES) {
			TRY(write_messages(x, out));
		} else if (x->stage == ST_ENTRIES) {
			TRY(write_entries(x, out));
		} else {
			TRY(write_checkpoints(x, out));
		}
		arena_clear(&x->line);
	}
	TRY(out->err);
	if (out->n > began)
		sha256_add(&x->sum, out->p + began, out->n - began);
	if (x->stage == ST_SUM)
		write_sum(x, out);
	*done = x->stage == ST_DONE;
	return out->err;
}
