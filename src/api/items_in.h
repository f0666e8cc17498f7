/* Items of conversations, in the form of Responses, as they come with requests of any protocol. */
#ifndef CENOTE_API_ITEMS_IN_H
#define CENOTE_API_ITEMS_IN_H

#include "base/json/json.h"
#include "core/thread.h"
#include "http/server.h"

struct item_place { /* items[3] */
	const char *list;
	size_t index;
};
/* A message: its type says so, or it has none but a role. */
bool item_is_message(struct jval item);
/* Checks an item: a message's role and content, a function call's names; everything else may be anything. E_INVALID names it. */
enum err item_check(struct jval item, struct item_place at) MUST_CHECK;
/* The array of items of a body, its member `name`, checked, as entries in the request's arena. */
enum err items_read(struct http_req *rq, struct jval list, const char *name, struct entry_append *out) MUST_CHECK;

#endif
