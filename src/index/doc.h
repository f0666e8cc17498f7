/* Index documents: what the ranker needs to know of one text, packed into bytes that are kept beside the item or message and never
 * interpreted by a store driver. Pure computation; thread-safe.
 *
 * A document states the version of the analysis and the language it was made with; a reader that meets another version or language
 * analyses the text again. Terms are the hash32 of stems. */
#ifndef CENOTE_INDEX_DOC_H
#define CENOTE_INDEX_DOC_H

#include "base/buf.h"

struct lang; /* stemmer, stop words, month names, time words */
/* "english", "german", ... as Snowball names them, or "none" (no stemming, no stop words); NULL when unknown. */
const struct lang *lang_find(struct str name);
const char *lang_name(const struct lang *l);
/* Comma-separated names for diagnostics and help. */
const char *lang_all(void);

/* One passage of plain text pieces (an item's value). */
enum err doc_of_texts(struct arena *a, const struct lang *l, const struct str *texts, size_t n, struct str *out) MUST_CHECK;

struct doc_message_in {
	struct str content, name, role;
	int64_t time_us; /* 0: none */
};
/* A message: passages of at most 95 words, pairs, flags (design/ranking.md section 5). */
enum err doc_of_message(struct arena *a, const struct lang *l, const struct doc_message_in *in, struct str *out) MUST_CHECK;
/* doc_of_texts for a value of which only `paths` were indexed: they are kept, so that the document can be made again from the
 * value. */
enum err doc_of_texts_at(struct arena *a, const struct lang *l, const struct str *texts, size_t n, const struct str *paths,
			 size_t paths_n, struct str *out) MUST_CHECK;

/* ---- reading. The bytes may be anything: a reader never looks outside them.
 *
 *   version u8, language u8, flags u8
 *   DOC_MESSAGE: role u8, facts u8, ask u8, [time: zigzag varint], [speaker: hash u32, number of name terms u8, name terms u32
 * each] number of passages varint; each: length varint, terms, [DOC_MESSAGE: pairs] [DOC_PATHS: number varint, each: length varint,
 * bytes] terms, pairs: number varint, then ascending ids as varint(delta << 1 | tf > 1), [tf varint]   (u32 is little-endian) */
#define DOC_VERSION 1
#define DOC_TF_MAX 4095u
#define DOC_NAME_TERMS 4

enum doc_role { ROLE_OTHER, ROLE_USER, ROLE_ASSISTANT, ROLE_SYSTEM, ROLE_TOOL, ROLE_PERSON };
enum { FACT_TIME = 1, FACT_SPEAKER = 2, FACT_QUESTION = 4 /* ends with a question mark */, FACT_TIME_WORD = 8 };

struct doc_head {
	uint8_t version;
	const struct lang *lang; /* NULL: not known here */
	bool is_message;
	uint8_t role, facts, ask; /* ask: share of the characters that stand in questions, 255 = all */
	int64_t time_us;	  /* 0 without FACT_TIME */
	uint32_t speaker;	  /* hash of the folded name, 0: none */
	unsigned name_terms_n;
	uint32_t name_terms[DOC_NAME_TERMS];
	uint32_t passages;
};
struct doc_reader {
	const uint8_t *p, *end;
	uint32_t passages, terms, pairs; /* left to read */
	uint32_t id;
	bool has_pairs, has_paths, bad;
};
enum doc_state { DOC_GOOD, DOC_OUTDATED /* another version: make it again */, DOC_BAD };
enum doc_state doc_open(struct str doc, struct doc_reader *r, struct doc_head *h);
/* The next passage; false at the end or when the bytes are damaged (r->bad). */
bool doc_passage(struct doc_reader *r, uint32_t *len);
bool doc_term(struct doc_reader *r, uint32_t *id, uint32_t *tf); /* of the passage; false at their end */
bool doc_pair(struct doc_reader *r, uint32_t *id, uint32_t *tf); /* after the terms (what is left of them is skipped) */
/* After the passages (what is left of them is skipped): the paths given to doc_of_texts_at; n = 0 when there were none. */
enum err doc_paths(struct doc_reader *r, struct arena *a, struct str **paths, size_t *n) MUST_CHECK;
/* Reads the whole document; false when it is damaged or of another version. */
bool doc_valid(struct str doc);

/* Id of the pair of two adjacent stems. */
static inline uint32_t doc_pair_id(uint32_t first, uint32_t second)
{
	uint64_t x = (first * 0x9e3779b97f4a7c15u) ^ second;

	x = (x ^ x >> 32) * 0xd6e8feb86659fd93u;
	return (uint32_t)(x ^ x >> 32);
}

#endif
