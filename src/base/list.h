/* Intrusive doubly linked list. A node is in at most one list; an unlinked node points to itself. Not thread-safe. */
#ifndef CENOTE_BASE_LIST_H
#define CENOTE_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
	struct list *next, *prev;
};

static inline void list_init(struct list *l)
{
	l->next = l->prev = l;
}
static inline bool list_empty(const struct list *l)
{
	return l->next == l;
}
static inline void list_add_tail(struct list *l, struct list *node)
{
	node->prev = l->prev;
	node->next = l;
	l->prev->next = node;
	l->prev = node;
}
static inline void list_add_head(struct list *l, struct list *node)
{
	list_add_tail(l->next, node);
}
static inline void list_del(struct list *node)
{
	node->prev->next = node->next;
	node->next->prev = node->prev;
	list_init(node);
}
/* The struct around a member. */
#define CONTAINER(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))
#define LIST_EACH(pos, l)                                                                                                          \
	for (struct list *pos = (l)->next, *pos##_n_ = pos->next; pos != (l); pos = pos##_n_, pos##_n_ = pos->next)

#endif
