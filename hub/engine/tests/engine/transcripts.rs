//! One named test for each file in `tests/transcripts`. `MILLRACE_REWRITE=1` writes the files anew; read the difference.

use crate::script::Script;

millrace_sim::transcripts! { Script:
    an_ack_waits_for_the_flush
    a_session_is_superseded_by_a_newer_one
    a_greeting_waits_for_what_the_older_session_sent
    a_clone_raises_an_alarm
    too_many_incarnations_at_once_are_refused
    a_full_hub_sends_agents_away
    a_disk_budget_that_is_used_up_ends_sessions_too
    a_rolled_back_device_is_told_so
    a_fork_is_told_by_hello_and_by_run
    a_damaged_run_is_declined_and_its_credit_comes_back
    frames_out_of_turn_end_the_session
    a_comparison_names_what_is_the_same
    a_revoked_device_is_cut_off_in_the_middle_of_its_greeting
    a_link_that_closes_during_its_commit_leaves_nothing_behind
    a_device_over_its_quota_is_sent_away_at_once
    a_hostile_gap_record_counts_without_harm
    a_rate_spreads_credit_over_time
    a_device_has_one_rate_on_all_its_connections
    a_device_that_comes_back_does_not_get_its_rate_again
    stored_bytes_are_what_the_store_says
    old_records_go_and_are_not_asked_for_again
    a_hole_holds_retention_up
    a_full_store_drops_the_oldest_when_told_to
    a_full_disk_makes_room_when_told_to
    a_full_store_makes_room_without_a_look
    a_dead_connection_beside_a_new_incarnation_is_no_clone
    a_silent_clone_outlives_a_dead_connection
    what_a_closed_link_left_waiting_is_dropped
    a_hub_that_stops_takes_nobody_in
    a_run_goes_to_the_replicas_while_it_is_flushed
    what_a_hub_missed_is_sent_when_it_comes_back
    a_guest_is_answered_after_the_flush_and_all_hear_of_it
    a_wiped_hub_fills_itself_and_says_so
    what_a_device_declares_as_lost_is_taken_from_a_hub_that_has_it
    what_others_let_go_is_not_told_as_held
    only_a_full_replica_says_what_the_hubs_hold
    a_fork_between_hubs_is_told_to_its_author
    a_store_that_went_back_in_time_begins_a_new_life
    strangers_and_liars_among_hubs_are_sent_away
    an_agent_that_moves_hears_what_is_safe
    a_hub_that_drains_sends_its_agents_away_one_by_one
    agents_hear_at_once_of_a_new_hub_and_later_of_its_load
    what_damage_takes_is_asked_of_one_hub_after_the_other
    a_device_brings_again_what_its_only_hub_lost
    a_hub_brings_what_another_lost_when_it_is_asked
    what_nobody_brings_is_an_alarm_after_a_while
    a_device_that_is_never_silent_is_compared_with_all_the_same
    what_damage_takes_of_an_older_life_is_asked_of_its_device
    whoever_was_not_asked_says_nothing_of_what_is_left
    what_nobody_has_any_more_is_declared_as_lost
    a_slow_device_is_not_taken_for_one_that_has_nothing
    a_device_with_a_new_disk_gets_what_is_kept_of_its_older_life
}
