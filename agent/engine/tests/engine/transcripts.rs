//! One named test for each file in `tests/transcripts`. `MILLRACE_REWRITE=1` writes the files anew; read the difference.

use crate::script::Script;

millrace_sim::transcripts! { Script:
    a_puback_waits_for_the_flush
    a_refused_publication_is_acknowledged_once_its_loss_is_counted
    live_records_overtake_the_backlog
    a_full_disk_holds_urgent_back_and_drops_bulk
    a_disk_that_is_full_even_for_acks_is_left_alone_and_tried_again
    a_full_disk_refuses_the_newest_where_the_lane_says_so
    a_rolled_back_disk_begins_a_new_incarnation
    a_clone_that_wrote_past_the_hub_is_found_by_the_hubs_head
    metered_sends_only_what_is_urgent
    a_late_answer_of_an_old_session_is_ignored
    a_superseded_session_stays_away_for_a_while
    another_hub_is_tried_at_once
    a_lane_used_first_inside_a_session_is_shipped
    a_declined_run_does_not_stop_the_others
    a_damaged_record_is_declared_and_the_rest_goes_on
    damage_that_a_commit_meets_is_counted_and_declared
    an_ack_that_comes_after_the_damage_counts_nothing_twice
    a_restored_agent_that_evicted_past_the_hubs_head_is_no_continuation
    a_hubs_head_that_was_sent_and_evicted_is_our_own
    acked_records_are_trimmed_after_their_grace
    a_hub_that_never_answers_the_greeting_is_left
    recovery_goes_on_in_the_next_session
    a_seal_follows_the_acks_of_its_records
    a_blocking_lane_goes_on_when_acks_make_room
    a_goodbye_that_comes_late_changes_nothing
    a_full_disk_is_noticed_to_have_room_again
    what_a_hub_holds_and_is_not_safe_yet_is_not_sent_again
    a_hub_that_lags_behind_takes_nothing_back
    hubs_made_anew_get_again_what_is_kept_and_hear_what_is_not
    a_hub_that_its_cluster_left_behind_is_left
    what_a_hub_that_is_not_complete_lacks_is_not_lost
    a_hub_that_asks_without_end_is_left
    a_hub_that_doubts_much_is_served_piece_by_piece
    what_the_hub_lost_of_an_older_life_goes_again_under_its_old_numbers
    what_the_hub_lost_goes_again_and_waits_for_its_ack
    a_new_disk_gets_its_history_back
    a_killed_agent_goes_on_with_its_history_where_it_was
    history_waits_behind_the_backlog_and_costs_nothing_on_a_metered_road
    what_a_hub_has_not_got_of_history_is_asked_for_later
    history_ends_at_its_limit
    what_damage_took_of_what_was_acknowledged_comes_back
    what_the_hub_has_more_comes_back_and_a_new_disk_s_history_waits_for_it
    what_no_hub_has_any_more_is_asked_for_once
    what_was_lost_before_its_ack_was_heard_comes_back_with_the_next_welcome
    history_that_rots_comes_back_once_more
    a_disk_that_is_full_drops_what_comes_back_and_asks_again_in_the_next_session
}
