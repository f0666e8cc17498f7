# Turns the templates of `cenote init` into C: awk -f embed.awk FILE... > OUT.c
BEGIN {
	print "/* Made from the files of src/cli/init by embed.awk. */"
	print "#include \"cli/init.h\""
	print "const struct init_file init_files[] = {"
}
FNR == 1 {
	if (n++)
		print "\t)},"
	name = FILENAME
	sub(/.*\//, "", name)
	sub(/^dot-/, ".", name)
	printf "\t{\"%s\", STR_INIT(\n", name
}
{
	gsub(/["\\]/, "\\\\&")
	printf "\t\t\"%s\\n\"\n", $0
}
END {
	print "\t)},"
	print "};"
	printf "const size_t init_files_n = %d;\n", n
}
