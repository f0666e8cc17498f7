/* Fuzz target: a line of the native format, message or item. Whatever it is, reading ends in a record or in an error with a
 * sentence; a message that was read, written and read again is the same message, and an item's value is the bytes that came. */
#include "base/clock.h"
#include "core/portable.h"
#include "must.h"

static void check_message(struct arena *a, const struct message *m)
{
	struct message again;
	struct json doc;
	struct buf b;
	struct jw w;

	buf_init(&b, a, (size_t)8 << 20);
	jw_init(&w, &b);
	message_to_json(&w, m);
	MUST(b.err == OK);
	MUST(json_parse(a, buf_slice(&b), NULL, &doc) == OK);
	MUST(message_from_json(a, json_root(&doc), "", true, &again) == OK);
	MUST(str_eq(m->thread, again.thread) && str_eq(m->mid, again.mid) && str_eq(m->user, again.user));
	MUST(str_eq(m->role, again.role) && str_eq(m->name, again.name) && str_eq(m->content, again.content));
	MUST(str_eq(m->metadata, again.metadata) && m->time_us == again.time_us);
	MUST(str_eq(message_default_id(a, m, 1), message_default_id(a, &again, 1)));
}

static void check_item(struct arena *a, const struct op_put *put, struct str line)
{
	struct item it = {.ns = put->ns,
			  .key = put->key,
			  .value = put->value,
			  .created_us = put->created_us,
			  .updated_us = put->updated_us,
			  .ttl_minutes = put->ttl_minutes > 0 ? put->ttl_minutes : 0,
			  .expires_us = put->expires_us};
	struct op_put again;
	struct json doc;
	struct buf b;
	struct jw w;

	MUST(put->value.p >= line.p && put->value.p + put->value.n <= line.p + line.n);
	MUST(ns_check(put->ns, "", false) == OK && key_check(put->key, "") == OK);
	if (it.ttl_minutes > 1e9)
		return; /* a put refuses it */
	buf_init(&b, a, (size_t)8 << 20);
	jw_init(&w, &b);
	jw_obj(&w);
	item_members(&w, &it, CLOCK_MICROS_Z);
	jw_end_obj(&w);
	MUST(b.err == OK);
	MUST(json_parse(a, buf_slice(&b), NULL, &doc) == OK);
	MUST(item_from_json(a, json_root(&doc), "", true, &again) == OK);
	MUST(str_eq(put->ns, again.ns) && str_eq(put->key, again.key) && str_eq(put->value, again.value));
	MUST(put->created_us == again.created_us && put->updated_us == again.updated_us);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str line = str_of((const char *)data, size);
	struct message m;
	struct op_put put;
	struct json doc;
	struct arena a;

	arena_init(&a, (size_t)64 << 20);
	if (json_parse(&a, line, NULL, &doc) == OK) {
		for (int strict = 0; strict < 2; strict++) {
			if (message_from_json(&a, json_root(&doc), "", strict, &m) == OK)
				check_message(&a, &m);
			else
				MUST(diag_get()->text[0]);
			if (item_from_json(&a, json_root(&doc), "", strict, &put) == OK)
				check_item(&a, &put, line);
			else
				MUST(diag_get()->text[0]);
		}
	}
	arena_release(&a);
	return 0;
}
