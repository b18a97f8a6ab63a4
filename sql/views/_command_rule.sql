-- View: _command_rule
--
-- The commands, and which ones beat each while they are pending: it is refused then. A stop and a cancel end at once what they beat (see
-- _request_supersede).
CREATE OR REPLACE
    SQL SECURITY DEFINER
VIEW _command_rule (command, beaten_by) AS
SELECT rule.command,
       rule.beaten_by
  FROM (VALUES ROW('stop',        'cancel'),
               ROW('start',       'stop,cancel'),
               ROW('cancel',      ''),
               ROW('cutover',     'stop,cancel,revert'),
               ROW('release',     'stop,cancel'),
               ROW('revert',      'skip_revert'),
               ROW('skip_revert', 'revert')) AS rule (command, beaten_by)
