// SPDX-License-Identifier: GPL-2.0
/* uapi_test [NAME]: the tests of the module's interface, or those named so. */
#include "harness.h"

int main(int argc, char **argv)
{
	static const struct test *const groups[] = {
		argument_tests, memory_tests, isolation_tests, driver_tests,
		keep_tests, input_create_tests, input_tests, stress_tests,
		death_tests, NULL
	};

	return run_tests(groups, argc > 1 ? argv[1] : NULL);
}
