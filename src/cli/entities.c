/* `cenote entities`: people, places and things that a user has spoken of. */
#include "cli/threads.h"

#include <inttypes.h>
#include <unistd.h>

#include "cli/facts.h"
#include "core/entity.h"

/* "&user=U&type=T" of the flags that are given. */
static struct str with_flag(struct call *c, struct str path, const char *flag, const char *name)
{
	const char *v = call_flag(c, flag);

	if (!v || !path.p)
		return path;
	struct str t = url_encode(&c->arena, str_c(v));

	return arena_printf(&c->arena, "%.*s%s=%.*s&", STR_ARG(path), name, STR_ARG(t));
}

/* With "&as_of=T", where the command has that flag. */
static enum err with_as_of(struct call *c, struct str *path)
{
	struct str at; /* checked here, written by with_flag */

	TRY(fact_as_of(c, &at));
	*path = with_flag(c, *path, "as-of", "as_of");
	return path->p ? OK : E_NOMEM;
}

static struct str entity_path(struct call *c, const char *rest)
{
	struct str name = url_encode(&c->arena, str_c(c->args[0]));
	struct str path = arena_printf(&c->arena, "/cenote/v1/entities%s?name=%.*s&", rest, STR_ARG(name));

	return with_flag(c, with_flag(c, path, "user", "user"), "type", "type");
}

/* --------------------------------------------------------------------- list */

static enum err print_row(void *ctx, struct jval row)
{
	return out_row(ctx, row);
}

static enum err list(struct call *c)
{
	static const struct column cols[] = {
		{"NAME", "name", 40}, {"TYPE", "type", 20}, {"NOTES", "notes", 80}, {"UPDATED", "updated_at", 0}};
	struct str path = with_flag(c, with_flag(c, STR("/cenote/v1/entities?"), "user", "user"), "type", "type");
	int64_t limit;
	struct out o;

	TRY(call_int(c, "limit", 1, 1000000, 100, &limit));
	TRY(with_as_of(c, &path));
	TRY(peer_open(c));
	out_begin(&o, c, cols, 4, "name", false);
	TRY(each_row(c, path, limit, print_row, &o));
	if (o.rows == 0 && !c->quiet && isatty(2))
		fprintf(stderr, "cenote: there are none\n");
	return out_end(&o);
}

int run_entities_list(struct call *c)
{
	return ended(c, list(c));
}

/* --------------------------------------------------------------------- show */

static struct str named(struct arena *a, struct jval v)
{
	struct str name = out_cell(a, j_get(v, STR("name"))), type = out_cell(a, j_get(v, STR("type")));

	return arena_printf(a, "%.*s (%.*s)", STR_ARG(name), STR_ARG(type));
}

/* ", since 2026-08-20T07:02:48.123Z (conv_1 msg_2)": what is known of it. */
static void print_origin(struct buf *b, struct arena *a, struct jval relation)
{
	struct jval since = j_get(relation, STR("since")), source = j_get(relation, STR("source"));

	if (j_is(since, JSON_STRING)) {
		buf_lit(b, ", since ");
		buf_str(b, out_cell(a, since));
	}
	if (j_is(source, JSON_OBJECT)) {
		buf_lit(b, " (");
		buf_str(b, out_cell(a, j_get(source, STR("thread"))));
		buf_byte(b, ' ');
		buf_str(b, out_cell(a, j_get(source, STR("item"))));
		buf_byte(b, ')');
	}
}

static enum err print_graph(struct call *c, struct jval graph)
{
	struct arena *a = &c->arena;
	struct jval v, note;
	struct buf b;

	buf_init(&b, a, (size_t)64 << 20);
	for (struct j_iter it = j_iter(j_get(graph, STR("entities"))); j_next(&it, NULL, &v);) {
		buf_str(&b, named(a, v));
		buf_byte(&b, '\n');
		for (struct j_iter n = j_iter(j_get(v, STR("notes"))); j_next(&n, NULL, &note);) {
			buf_lit(&b, "  ");
			buf_str(&b, out_cell(a, note));
			buf_byte(&b, '\n');
		}
	}
	for (struct j_iter it = j_iter(j_get(graph, STR("relations"))); j_next(&it, NULL, &v);) {
		buf_str(&b, named(a, j_get(v, STR("from"))));
		buf_lit(&b, " -- ");
		buf_str(&b, out_cell(a, j_get(v, STR("relation"))));
		buf_lit(&b, " -> ");
		buf_str(&b, named(a, j_get(v, STR("to"))));
		print_origin(&b, a, v);
		buf_byte(&b, '\n');
	}
	return print(&b);
}

static enum err show(struct call *c)
{
	struct str path = entity_path(c, "/graph");
	struct jval graph;
	int64_t hops;

	TRY(call_int(c, "hops", 0, ENTITY_HOPS_MAX, 1, &hops));
	if (path.p)
		path = arena_printf(&c->arena, "%.*shops=%" PRId64 "&", STR_ARG(path), hops);
	TRY(with_as_of(c, &path));
	TRY(peer_open(c));
	TRY(get_json(c, path, &graph));
	if (!j_is(j_get(graph, STR("entities")), JSON_ARRAY) || !j_is(j_get(graph, STR("relations")), JSON_ARRAY))
		return err_set(E_UPSTREAM, "the server's answer has no entities (is it a Cenote server?)");
	if (for_people(c))
		return print_graph(c, graph);
	printf("%.*s\n", STR_ARG(j_raw(graph)));
	return fflush(stdout) == 0 ? OK : err_set(E_IO, "cannot write to stdout");
}

int run_entities_show(struct call *c)
{
	return ended(c, show(c));
}

/* ---------------------------------------------------------------- link, rm */

/* "TYPE:NAME" or a name. */
static void put_ref(struct buf *b, const char *text)
{
	struct str type, name;

	if (!str_cut(str_c(text), ':', &type, &name) || !type.n || !name.n) {
		json_quote(b, str_c(text));
		return;
	}
	buf_lit(b, "{\"name\":");
	json_quote(b, name);
	buf_lit(b, ",\"type\":");
	json_quote(b, type);
	buf_byte(b, '}');
}

static enum err link_both(struct call *c)
{
	struct jval r;
	struct buf b;
	bool added = false;

	buf_init(&b, &c->arena, 1u << 20);
	buf_lit(&b, "{\"from\":");
	put_ref(&b, c->args[0]);
	buf_lit(&b, ",\"relation\":");
	json_quote(&b, str_c(c->args[1]));
	buf_lit(&b, ",\"to\":");
	put_ref(&b, c->args[2]);
	if (call_flag(c, "user")) {
		buf_lit(&b, ",\"user\":");
		json_quote(&b, str_c(call_flag(c, "user")));
	}
	if (call_has(c, "replace"))
		buf_lit(&b, ",\"replaces\":true");
	buf_byte(&b, '}');
	TRY(b.err);
	TRY(peer_open(c));
	TRY(send_json(c, "POST", STR("/cenote/v1/entities/relations"), buf_slice(&b), &r));
	(void)j_bool(j_get(r, STR("added")), &added);
	if (!c->quiet)
		fprintf(stderr, added ? "cenote: linked %s and %s\n" : "cenote: %s and %s were linked so already\n", c->args[0],
			c->args[2]);
	return OK;
}

static enum err unlink_both(struct call *c)
{
	struct str part[4], from = STR(""), to = STR("");
	struct jval r;
	int64_t removed = 0;

	if (!str_cut(str_c(c->args[0]), ':', &part[0], &from))
		from = str_c(c->args[0]), part[0] = STR("");
	if (!str_cut(str_c(c->args[2]), ':', &part[1], &to))
		to = str_c(c->args[2]), part[1] = STR("");
	from = url_encode(&c->arena, from);
	to = url_encode(&c->arena, to);
	part[0] = url_encode(&c->arena, part[0]);
	part[1] = url_encode(&c->arena, part[1]);
	part[2] = url_encode(&c->arena, str_c(c->args[1]));
	part[3] = arena_printf(&c->arena,
			       "/cenote/v1/entities/relations?from=%.*s&from_type=%.*s&to=%.*s&to_type=%.*s&relation=%.*s&",
			       STR_ARG(from), STR_ARG(part[0]), STR_ARG(to), STR_ARG(part[1]), STR_ARG(part[2]));
	part[3] = with_flag(c, part[3], "user", "user");
	TRY(part[3].p ? OK : E_NOMEM);
	TRY(peer_open(c));
	TRY(send_json(c, "DELETE", part[3], str_of(NULL, 0), &r));
	(void)j_i64(j_get(r, STR("removed")), &removed);
	if (removed == 0)
		return err_set(E_NOT_FOUND, "%s and %s are not linked so", c->args[0], c->args[2]);
	if (!c->quiet)
		fprintf(stderr, "cenote: unlinked %s and %s\n", c->args[0], c->args[2]);
	return OK;
}

int run_entities_link(struct call *c)
{
	if (call_has(c, "remove") && call_has(c, "replace"))
		return ended(c, err_set(E_INVALID, "--replace and --remove do not go together"));
	return ended(c, call_has(c, "remove") ? unlink_both(c) : link_both(c));
}

static enum err rm(struct call *c)
{
	struct str path = entity_path(c, ""), what;
	struct jval none;

	what = arena_printf(&c->arena, "remove %s and its relations", c->args[0]);
	TRY(path.p && what.p ? OK : E_NOMEM);
	TRY(peer_open(c));
	if (call_has(c, "dry-run")) {
		fprintf(stderr, "cenote: would %s\n", what.p);
		return OK;
	}
	TRY(call_confirm(c, what.p));
	TRY(send_json(c, "DELETE", path, str_of(NULL, 0), &none));
	if (!c->quiet)
		fprintf(stderr, "cenote: removed %s\n", c->args[0]);
	return OK;
}

int run_entities_rm(struct call *c)
{
	return ended(c, rm(c));
}
