# Run as a script: fails when an object file defines a weak symbol (an inline function that the linker may merge).

string(REPLACE "|" ";" objects "${OBJECTS}")
foreach(object ${objects})
  execute_process(COMMAND "${NM}" "${object}" OUTPUT_VARIABLE symbols RESULT_VARIABLE result)
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "cannot read the symbols of ${object}")
  endif()
  string(REGEX MATCHALL "[0-9a-f]+ [WVu] [^\n]+" weak "${symbols}")
  if(weak)
    message(FATAL_ERROR "${object} defines weak symbols, which may run on a CPU without its instructions: ${weak}")
  endif()
endforeach()
file(TOUCH "${STAMP}")
