# Turns a text file into a C array: awk -f embed.awk FILE > OUT.c
BEGIN {
	print "/* Made from docs/openapi.json by embed.awk. */"
	print "extern const char openapi_text[];"
	print "extern const unsigned long openapi_size;"
	print "const char openapi_text[] ="
}
{
	gsub(/["\\]/, "\\\\&")
	printf "\t\"%s\\n\"\n", $0
}
END {
	print "\t;"
	print "const unsigned long openapi_size = sizeof openapi_text - 1;"
}
