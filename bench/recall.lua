-- wrk: POST /cenote/v1/recall among items, limit 10, with questions of a file (CENOTE_BENCH_QUESTIONS, one a line). CENOTE_BENCH_UNIQUE=1: no question
-- twice, so that each is encoded.
local threads = 0
function setup(thread)
	thread:set("id", threads)
	threads = threads + 1
end
function init(args)
	questions = {}
	for line in io.lines(os.getenv("CENOTE_BENCH_QUESTIONS")) do questions[#questions + 1] = line end
	unique = os.getenv("CENOTE_BENCH_UNIQUE") == "1"
	run = tonumber(args[1] or "0") % 1000003
	n = id * 131
	wrk.headers["Content-Type"] = "application/json"
end
function request()
	n = n + 1
	local q = questions[n % #questions + 1]
	if unique then q = q .. " " .. run .. " " .. n end
	return wrk.format("POST", "/cenote/v1/recall", nil, '{"kinds":["item"],"namespaces":[["bench","recall"]],"limit":10,"query":"' .. q .. '"}')
end
function done(summary, latency, requests)
	io.write(string.format("RESULT rate %.0f p50 %.3f p99 %.3f errors %d\n", summary.requests / summary.duration * 1e6,
		latency:percentile(50) / 1000, latency:percentile(99) / 1000,
		summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout))
end
