// SPDX-License-Identifier: MIT

//! The facts about the VM runner. The table names them; each is one function.

mod ends;
mod guest;
mod host;
mod streams;
mod two;

use crate::run::Failure;

type Fact = fn() -> Result<(), Failure>;

/// All facts by name.
pub const ALL: &[(&str, Fact)] = &[
    (
        "the_exit_status_is_the_commands_and_background_processes_do_not_matter",
        ends::exit_status,
    ),
    (
        "a_command_killed_by_a_signal_gives_128_plus_its_number",
        ends::killed_by_signal,
    ),
    (
        "a_missing_command_gives_127_and_a_file_that_is_none_126",
        ends::not_started,
    ),
    (
        "megabytes_pass_unchanged_and_the_callers_stdin_stays_blocking",
        streams::bytes,
    ),
    (
        "a_slow_reader_gets_all_output_of_a_command_that_has_ended",
        streams::slow_reader,
    ),
    (
        "output_comes_while_the_command_runs_and_input_reaches_it",
        streams::dialogue,
    ),
    ("a_closed_stdin_is_at_its_end", streams::closed_stdin),
    (
        "a_closed_stdout_gives_the_command_sigpipe",
        streams::closed_stdout,
    ),
    ("a_command_that_takes_too_long_gives_124", ends::timeout),
    ("a_panic_gives_255_and_the_kernels_log", ends::panic),
    ("an_oops_gives_255_and_the_kernels_log", ends::oops),
    (
        "a_boot_that_never_comes_gives_255_and_the_kernels_log",
        ends::no_boot,
    ),
    (
        "a_vm_that_switches_itself_off_gives_255",
        ends::switched_off,
    ),
    (
        "added_files_folders_and_dynamic_programs_are_there",
        guest::add,
    ),
    ("parameters_reach_the_module", guest::module_parameters),
    (
        "a_module_that_the_kernel_refuses_gives_125_and_the_reason",
        guest::refused_module,
    ),
    ("a_misspelt_parameter_gives_125", guest::misspelt_parameter),
    (
        "processors_memory_kernel_words_and_devices_are_as_asked",
        guest::machine,
    ),
    (
        "counting_instructions_repeats_to_half_a_percent",
        guest::icount,
    ),
    (
        "wrong_usage_gives_2_and_what_is_missing_125",
        host::errors_before_boot,
    ),
    (
        "bytes_packets_and_a_broken_pipe_reach_another_vm",
        two::relay,
    ),
    (
        "a_receiving_vm_that_dies_is_a_broken_pipe_in_the_other",
        two::receiving_machine_dies,
    ),
    (
        "a_sending_vm_that_dies_is_an_early_end_in_the_other",
        two::sending_machine_dies,
    ),
    (
        "a_network_that_cannot_be_gives_2_or_125",
        two::wrong_network,
    ),
    ("an_interrupt_gives_130_and_ends_qemu", host::interrupt),
    ("a_killed_runner_leaves_no_qemu", host::killed_runner),
    (
        "a_terminal_is_passed_through_and_restored",
        streams::terminal,
    ),
];
