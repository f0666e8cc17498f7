-- wrk: POST /store/items/search with a filter on CENOTE_BENCH_FIELD ("kind"; CENOTE_BENCH_KINDS of them, c0..), limit 10, in CENOTE_BENCH_SPREAD namespaces.
local threads = 0
function setup(thread)
	thread:set("id", threads)
	threads = threads + 1
end
function init(args)
	spread = tonumber(os.getenv("CENOTE_BENCH_SPREAD"))
	kinds = tonumber(os.getenv("CENOTE_BENCH_KINDS") or "5")
	field = os.getenv("CENOTE_BENCH_FIELD") or "kind"
	n = id * 131
	wrk.headers["Content-Type"] = "application/json"
end
function request()
	n = n + 1
	return wrk.format("POST", "/store/items/search", nil,
		'{"namespace_prefix":["bench","g' .. (n % spread) .. '"],"limit":10,"filter":{"' .. field .. '":"c' .. (n % kinds) .. '"}}')
end
function done(summary, latency, requests)
	io.write(string.format("RESULT rate %.0f p50 %.3f p99 %.3f errors %d\n", summary.requests / summary.duration * 1e6,
		latency:percentile(50) / 1000, latency:percentile(99) / 1000,
		summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout))
end
