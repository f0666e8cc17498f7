/* WordPiece: text into the numbers of word pieces, as the uncased BERT models take it (all-MiniLM-L6-v2 is one).
 *
 * The text is cleaned (control characters out, every kind of white space is a space), decomposed (NFD), stripped of accents and put
 * into lower case; it is cut at white space, and around each character of punctuation and each Chinese character. A word becomes
 * the longest piece of the vocabulary that it begins with, then the longest "##" piece, and so on; a word that does not work out
 * so, or that has more than 100 characters, is [UNK]. A special piece written out in the text, as "[SEP]", is that piece. Source:
 * the reference tokenizer (BertNormalizer, BertPreTokenizer, WordPiece of the package `tokenizers`); ids are equal to its.
 *
 * Time is linear in the bytes looked at; nothing is allocated but by wordpiece_open.
 * Thread safety: immutable once opened; any number of threads. */
#ifndef CENOTE_EMBED_MINILM_WORDPIECE_H
#define CENOTE_EMBED_MINILM_WORDPIECE_H

#include "base/err.h"

#define WORDPIECE_WINDOW 256 /* the model's max_seq_length, [CLS] and [SEP] included */

#define WORDPIECE_ENTRIES_MAX 65536 /* of a vocabulary */
#define WORDPIECE_ENTRY_MAX 128	    /* bytes of an entry */

struct wordpiece;

/* vocab: the whole of vocab.txt, one entry per line, the first has id 0; it is copied (231 KB, and 640 KB for finding). Every entry
 * has 1..WORDPIECE_ENTRY_MAX bytes of valid UTF-8 without blanks and control characters, and stands there once; [PAD], [UNK], [CLS]
 * and [SEP] must be among them. E_CORRUPT otherwise, the diagnostic names the line; E_LIMIT: too many entries, or no memory. */
enum err wordpiece_open(struct str vocab, struct wordpiece **out) MUST_CHECK;
void wordpiece_free(struct wordpiece *w); /* NULL is fine */
/* Entries of the vocabulary: every id is below. */
uint32_t wordpiece_entries(const struct wordpiece *w);

/* [CLS], the pieces, [SEP]: at most window numbers (window >= 2) go to ids; what is beyond is not looked at, nor is what is beyond
 * EMBED_TEXT_MAX bytes. Returns how many: 2 for an empty text. Bytes that are not UTF-8 count as nothing. */
size_t wordpiece_encode(const struct wordpiece *w, struct str text, uint32_t *ids, size_t window);

#endif
