-- View: setting_status
--
-- The settings with their values and bounds: see setting_set.
CREATE OR REPLACE
    SQL SECURITY DEFINER
VIEW setting_status (
    name, value, minimum_value, maximum_value, description
) AS
SELECT s.name,
       s.value,
       s.minimum_value,
       s.maximum_value,
       s.description
  FROM setting AS s
