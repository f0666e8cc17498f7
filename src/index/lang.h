/* Languages: what the analysis knows of each. Constant tables; thread-safe. The numbers are stored in index documents: never reuse
 * one. */
#ifndef CENOTE_INDEX_LANG_H
#define CENOTE_INDEX_LANG_H

#include "index/doc.h"

#define LANG_MAX 32 /* ids are below; sets of languages are 32-bit masks */

struct lang {
	uint8_t id;		/* stored */
	const char *name;	/* as Snowball names it; "none" for no analysis but folding */
	bool stems;		/* libstemmer knows it */
	const char *stop;	/* words between blanks, not yet folded; NULL: none */
	const char *months[12]; /* lower case; months[0] NULL: no dates in this language */
	const char *times;	/* words that say when something happened, between blanks */
	const char *when;	/* beginnings of questions about time, between '|' */
	const char *told;	/* what a question has in it that asks what an assistant has said, between '|', folded */
	const char *aside;	/* where such a word means nothing: requests, and what the user has said; goes with told */
};

/* All languages, in order of id; *n entries. */
const struct lang *lang_table(size_t *n);
/* By the number in a document; NULL when unknown. */
const struct lang *lang_by_id(uint8_t id);

#endif
