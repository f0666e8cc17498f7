/* A ChatGPT export: conversations.json is an array of conversations, each a tree of messages in `mapping`; what the user saw last
 * is the path from the root to `current_node`. The array is cut into conversations without reading it whole. */
#include "cli/readers.h"

#include "base/clock.h"
#include "base/hash.h"
#include "base/json/json.h"
#include "core/session.h"

#define PATH_MAX_NODES 100000
#define WORK ((size_t)1 << 30)

struct chat {
	const struct read_options *o;
	const struct sink *k;
	struct arena a;
	uint64_t unit; /* number of the conversation */
	struct str thread;
};

static int64_t time_of(struct jval v)
{
	double s;
	if (!j_ok(v) || !j_double(v, &s) || s <= 0 || s > 253402300799.0)
		return 0;
	return (int64_t)(s * 1e6 + 0.5);
}

/* The text of a message: its string parts (what is no text, as images, is left out), or the `text` of code and results. */
static struct str content_text(struct arena *a, struct jval content)
{
	struct jval parts = j_get(content, STR("parts")), text = j_get(content, STR("text")), p;
	struct buf b;
	buf_init(&b, a, MESSAGE_MAX_BYTES * 8);
	if (j_is(parts, JSON_ARRAY)) {
		struct j_iter it = j_iter(parts);
		while (j_next(&it, NULL, &p)) {
			struct jval t = j_is(p, JSON_OBJECT) ? j_get(p, STR("text")) : p;
			if (!j_is(t, JSON_STRING))
				continue;
			struct str s = j_str(a, t);
			if (b.n && s.n)
				buf_byte(&b, '\n');
			buf_str(&b, s);
		}
	} else if (j_is(text, JSON_STRING)) {
		buf_str(&b, j_str(a, text));
	}
	return b.err == OK ? str_trim(buf_slice(&b)) : str_of(NULL, 0);
}

/* U+0000 cannot be stored in a message. */
static struct str without_nul(struct arena *a, struct str s)
{
	if (s.n == 0 || memchr(s.p, 0, s.n) == NULL)
		return s;
	char *p = arena_alloc(a, s.n);
	size_t n = 0;
	for (size_t i = 0; p && i < s.n; i++)
		if (s.p[i])
			p[n++] = s.p[i];
	return str_of(p, n);
}

static struct str known_role(struct str role)
{
	static const struct str roles[] = {STR_INIT("user"), STR_INIT("assistant"), STR_INIT("system"), STR_INIT("tool")};
	for (size_t i = 0; i < 4; i++)
		if (str_eq(role, roles[i]))
			return roles[i];
	return STR("assistant");
}

static enum err give(struct chat *c, struct jval msg, struct str node_id)
{
	struct arena *a = &c->a;
	struct jval author = j_get(msg, STR("author")), id = j_get(msg, STR("id")), role = j_get(author, STR("role")),
		    name = j_get(author, STR("name"));
	struct message m = {.thread = c->thread, .user = c->o->user, .mid = node_id};
	m.content = without_nul(a, content_text(a, j_get(msg, STR("content"))));
	if (m.content.n == 0)
		return OK; /* roots, hidden system messages, pure images */
	m.role = known_role(j_is(role, JSON_STRING) ? j_str(a, role) : STR(""));
	if (j_is(name, JSON_STRING))
		m.name = without_nul(a, j_str(a, name));
	if (j_is(id, JSON_STRING) && j_str(a, id).n)
		m.mid = j_str(a, id);
	m.time_us = time_of(j_get(msg, STR("create_time")));
	if (m.content.n > MESSAGE_MAX_BYTES) {
		enum err e = err_set(E_LIMIT, "a message of %zu bytes; at most %u are allowed", m.content.n, MESSAGE_MAX_BYTES);
		return c->k->bad(c->k->ctx, c->unit, e);
	}
	struct buf b;
	struct jw w;
	buf_init(&b, a, MESSAGE_MAX_BYTES * 8);
	jw_init(&w, &b);
	message_to_json(&w, &m);
	if (b.err != OK)
		return E_NOMEM;
	struct record rec = {buf_slice(&b), c->unit, hash64(c->thread), true};
	return c->k->record(c->k->ctx, &rec);
}

/* The node to end at: current_node, or - in old exports without it - the newest leaf. */
static struct str last_node(struct arena *a, struct jval conv, struct jval mapping)
{
	struct jval cur = j_get(conv, STR("current_node")), key, node;
	if (j_is(cur, JSON_STRING))
		return j_str(a, cur);
	struct str best = {0};
	int64_t newest = -1;
	struct j_iter it = j_iter(mapping);
	while (j_next(&it, &key, &node)) {
		struct jval kids = j_get(node, STR("children"));
		int64_t t = time_of(j_get(j_get(node, STR("message")), STR("create_time")));
		if ((!j_is(kids, JSON_ARRAY) || j_node(kids)->count == 0) && t > newest) {
			newest = t;
			best = j_str(a, key);
		}
	}
	return best;
}

/* mapping's nodes by id: looking each up in the object would be quadratic. */
static enum err index_nodes(struct chat *c, struct jval mapping, struct map *nodes)
{
	struct jval key, node;
	struct j_iter it = j_iter(mapping);
	while (j_next(&it, &key, &node)) {
		struct jval *kept = ARENA_NEW(&c->a, struct jval);
		if (kept == NULL)
			return E_NOMEM;
		*kept = node;
		TRY(map_put(nodes, j_str(&c->a, key), kept, NULL));
	}
	return OK;
}

static enum err walk_path(struct chat *c, struct jval conv, struct jval mapping, struct map *nodes)
{
	struct str id = last_node(&c->a, conv, mapping);
	struct jval *path = ARENA_ARRAY(&c->a, struct jval, PATH_MAX_NODES);
	struct str *ids = ARENA_ARRAY(&c->a, struct str, PATH_MAX_NODES);
	size_t n = 0;
	if (path == NULL || ids == NULL)
		return E_NOMEM;
	while (id.n) {
		struct jval *node = map_get(nodes, id);
		if (node == NULL)
			break;
		if (n == PATH_MAX_NODES || n > nodes->count)
			return err_set(E_INVALID, "the messages of the conversation form a circle or are too many");
		ids[n] = id;
		path[n++] = *node;
		struct jval parent = j_get(*node, STR("parent"));
		id = j_is(parent, JSON_STRING) ? j_str(&c->a, parent) : str_of(NULL, 0);
	}
	while (n-- > 0) {
		struct jval msg = j_get(path[n], STR("message"));
		if (j_is(msg, JSON_OBJECT))
			TRY(give(c, msg, ids[n]));
	}
	return OK;
}

static enum err conversation(struct chat *c, struct str text)
{
	const struct json_limits lim = {128, 8000000, SOURCE_PIECE_MAX, JSON_DUP_OK};
	struct json doc;
	struct map nodes;
	enum err e = json_parse(&c->a, text, &lim, &doc);
	if (e != OK)
		return c->k->bad(c->k->ctx, c->unit, e);
	struct jval v = json_root(&doc), mapping = j_get(v, STR("mapping")), id = j_get(v, STR("id"));
	if (!j_is(id, JSON_STRING))
		id = j_get(v, STR("conversation_id"));
	if (!j_is(mapping, JSON_OBJECT)) {
		e = err_set(E_INVALID, "not a conversation of a ChatGPT export: it has no `mapping`");
		return c->k->bad(c->k->ctx, c->unit, e);
	}
	c->thread = j_is(id, JSON_STRING) ? j_str(&c->a, id) : str_of(NULL, 0);
	if (c->thread.n == 0 || c->thread.n > THREAD_MAX_BYTES) {
		uint8_t sum[SHA256_BYTES];
		char hex[SHA256_HEX + 1];
		sha256_of(text, sum);
		hex_encode(sum, 16, hex);
		c->thread = arena_str(&c->a, str_of(hex, 32));
	}
	map_init(&nodes);
	e = index_nodes(c, mapping, &nodes);
	if (e == OK)
		e = walk_path(c, v, mapping, &nodes);
	map_release(&nodes);
	return e == E_INVALID ? c->k->bad(c->k->ctx, c->unit, e) : e;
}

static bool blank(char ch)
{
	return ch == ' ' || ch == '\n' || ch == '\r' || ch == '\t';
}

/* Length of the JSON value at the front of the window, by counting brackets outside strings. 0: the input ends before it does. */
static enum err element(struct source *s, size_t *len)
{
	size_t i = 0, depth = 0;
	bool in_string = false, escaped = false;
	for (;;) {
		struct str w;
		TRY(source_peek(s, i + 1, &w));
		if (w.n <= i) {
			*len = 0;
			return OK;
		}
		for (; i < w.n; i++) {
			char ch = w.p[i];
			if (in_string) {
				in_string = escaped || ch != '"';
				escaped = !escaped && ch == '\\';
			} else if (ch == '"') {
				in_string = true;
			} else if (ch == '{' || ch == '[') {
				depth++;
			} else if ((ch == '}' || ch == ']') && depth > 0 && --depth == 0) {
				*len = i + 1;
				return OK;
			} else if (depth == 0 && (ch == ',' || ch == ']')) {
				*len = i; /* a bare value, which is no conversation */
				return OK;
			}
		}
		if (i > SOURCE_PIECE_MAX)
			return err_set(E_LIMIT, "a conversation of more than %zu MiB", SOURCE_PIECE_MAX >> 20);
	}
}

/* Steps over blanks; *ch is the next character, 0 at the end. */
static enum err next_char(struct source *s, char *ch)
{
	for (;;) {
		struct str w;
		TRY(source_peek(s, 1, &w));
		*ch = w.n ? w.p[0] : '\0';
		if (!blank(*ch))
			return OK;
		source_skip(s, 1);
	}
}

enum err read_chatgpt(struct source *s, const struct read_options *o, const struct sink *k)
{
	struct chat c = {.o = o, .k = k};
	char ch;
	enum err e = OK;
	size_t len = 0;
	struct str w;
	arena_init(&c.a, WORK);
	CHECK(next_char(s, &ch));
	if (ch != '[') {
		e = err_set(E_INVALID, "a ChatGPT export begins with `[`");
		goto out;
	}
	source_skip(s, 1);
	for (;;) {
		CHECK(next_char(s, &ch));
		if (ch == ']')
			break;
		if (ch == ',' && c.unit > 0) {
			source_skip(s, 1);
			continue;
		}
		CHECK(element(s, &len));
		if (len == 0) {
			e = err_set(E_INVALID, "the file ends within conversation %llu", (unsigned long long)c.unit + 1);
			goto out;
		}
		CHECK(source_peek(s, len, &w));
		c.unit++;
		CHECK(conversation(&c, str_sub(w, 0, len)));
		source_skip(s, len);
		arena_clear(&c.a);
	}
out:
	arena_release(&c.a);
	return e;
}
