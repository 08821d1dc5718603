# cmake -DDIST=... -DOUT=... -P embed.cmake: writes OUT/page.cpp and OUT/page.S, which hold every file of DIST (nothing, when
# it is empty) as the table that src/serve/assets serves from.
file(GLOB_RECURSE files RELATIVE "${DIST}" "${DIST}/*")
list(FILTER files EXCLUDE REGEX "\\.gz$")
list(SORT files)

set(types_html "text/html; charset=utf-8")
set(types_js "text/javascript; charset=utf-8")
set(types_css "text/css; charset=utf-8")
set(types_svg "image/svg+xml")

set(declared "")
set(rows "")
set(blobs "")
set(count 0)
# One blob: symbols page_<n>_begin and _end around the file's bytes.
macro(add_blob path)
  set(symbol "lathe_page_${count}")
  string(APPEND declared "extern \"C\" const char ${symbol}_begin[], ${symbol}_end[];\n")
  string(APPEND blobs "    .global ${symbol}_begin, ${symbol}_end\n    .hidden ${symbol}_begin, ${symbol}_end\n"
    "${symbol}_begin:\n    .incbin \"${path}\"\n${symbol}_end:\n    .byte 0\n")
  math(EXPR count "${count} + 1")
endmacro()

foreach(file IN LISTS files)
  string(REGEX MATCH "[a-z0-9]+$" extension "${file}")
  if(NOT DEFINED types_${extension})
    message(FATAL_ERROR "${file}: no content type for .${extension}; add it to ui/embed.cmake")
  endif()
  file(SHA256 "${DIST}/${file}" hash)
  string(SUBSTRING "${hash}" 0 32 tag)
  set(path "/${file}")
  set(immutable false)
  if(file STREQUAL "index.html")
    set(path "/")
  elseif(file MATCHES "^assets/")
    set(immutable true)  # its name changes with its content
  endif()
  add_blob("${DIST}/${file}")
  set(bytes "{${symbol}_begin, ${symbol}_end}")
  set(compressed "{}")
  if(EXISTS "${DIST}/${file}.gz")
    add_blob("${DIST}/${file}.gz")
    set(compressed "{${symbol}_begin, ${symbol}_end}")
  endif()
  string(APPEND rows "      {\"${path}\", \"${types_${extension}}\", \"\\\"${tag}\\\"\", ${immutable}, "
    "${bytes}, ${compressed}},\n")
endforeach()

set(table "  return {};\n")
if(rows)
  set(table "  static const Asset assets[] = {\n${rows}  };\n  return assets;\n")
endif()
file(WRITE "${OUT}/page.cpp" "// Written by ui/embed.cmake.\n#include \"serve/assets/assets.h\"\n\n${declared}\n"
  "namespace lathe::serve {\nstd::span<const Asset> page_assets() {\n${table}}\n}  // namespace lathe::serve\n")
file(WRITE "${OUT}/page.S" "// Written by ui/embed.cmake.\n    .section .rodata\n${blobs}"
  "    .section .note.GNU-stack, \"\", %progbits\n")
