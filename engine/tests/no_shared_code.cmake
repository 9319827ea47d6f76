# Fails if an object file of one instruction set defines a weak function: the linker keeps one copy of those, perhaps
# the one that not every machine can run.  Needs NM and ARCHIVE.
execute_process(COMMAND "${NM}" --print-file-name --defined-only --demangle "${ARCHIVE}"
  OUTPUT_VARIABLE symbols COMMAND_ERROR_IS_FATAL ANY)
string(REPLACE "\n" ";" lines "${symbols}")
set(num_checked 0)
foreach(line IN LISTS lines)
  if(line MATCHES "avx[0-9]+\\.cc")
    math(EXPR num_checked "${num_checked} + 1")
    if(line MATCHES " [Wu] ")
      message(SEND_ERROR "shared between instruction sets: ${line}")
    endif()
  endif()
endforeach()
if(num_checked EQUAL 0)
  message(FATAL_ERROR "no object file of an instruction set in ${ARCHIVE}")
endif()
