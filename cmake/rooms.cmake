# lathe_room(<name> [JOINED] [INCLUDES <rooms the DESIGN table allows>] [LINKS <third-party targets>])
#
# A room is a folder under src/ built as one static library `lathe_<name>` from every source below it. Includes are
# written from src/ ("tensor/shape.h"); tests/architecture checks that they point downward only. The sources of a JOINED
# room are compiled six at a time with LATHE_UNITY, so that headers are read once for all of them; names in its unnamed
# namespaces have to differ.
function(lathe_room name)
  cmake_parse_arguments(ROOM "JOINED" "" "INCLUDES;LINKS" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/${name}/*.cpp")
  list(FILTER sources EXCLUDE REGEX "/cuda/")
  add_library(lathe_${name} STATIC ${sources})
  target_include_directories(lathe_${name} PUBLIC "${PROJECT_SOURCE_DIR}/src" "${PROJECT_SOURCE_DIR}/include")
  foreach(room IN LISTS ROOM_INCLUDES)
    target_link_libraries(lathe_${name} PUBLIC lathe_${room})
  endforeach()
  target_link_libraries(lathe_${name} PUBLIC ${ROOM_LINKS})
  if(LATHE_UNITY AND ROOM_JOINED)
    set_target_properties(lathe_${name} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 6)
  endif()
  set_property(GLOBAL APPEND PROPERTY LATHE_ROOMS ${name})
endfunction()

# lathe_test(<name> LINKS <targets>): tests/<name>/*.cpp as one GoogleTest program, one CTest case per test.
function(lathe_test name)
  cmake_parse_arguments(TEST "" "" "LINKS;LABELS" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/${name}/*.cpp")
  if(NOT sources)
    return()
  endif()
  add_executable(test_${name} ${sources})
  target_include_directories(test_${name} PRIVATE "${PROJECT_SOURCE_DIR}/tests")
  target_link_libraries(test_${name} PRIVATE ${TEST_LINKS} lathe_test_support GTest::gtest GTest::gtest_main)
  gtest_discover_tests(test_${name} TEST_PREFIX "${name}/" DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 60 NO_PRETTY_VALUES
                       PROPERTIES LABELS "${name}" TIMEOUT 300)
endfunction()
