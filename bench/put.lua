-- wrk: PUT /store/items, a new key each time, values of about 1 KB (file in CENOTE_BENCH_VALUES, one JSON object a line).
local values, threads = {}, 0
function setup(thread)
	thread:set("id", threads)
	threads = threads + 1
end
function init(args)
	for line in io.lines(os.getenv("CENOTE_BENCH_VALUES")) do values[#values + 1] = line end
	n, run = 0, args[1] or "r"
	wrk.headers["Content-Type"] = "application/json"
end
function request()
	n = n + 1
	return wrk.format("PUT", "/store/items", nil, '{"namespace":["bench","n' .. (n % 50) .. '"],"key":"' .. run .. "-" .. id .. "-" .. n ..
		'","value":' .. values[n % #values + 1] .. "}")
end
function done(summary, latency, requests)
	io.write(string.format("RESULT rate %.0f p50 %.3f p99 %.3f errors %d\n", summary.requests / summary.duration * 1e6,
		latency:percentile(50) / 1000, latency:percentile(99) / 1000,
		summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout))
end
