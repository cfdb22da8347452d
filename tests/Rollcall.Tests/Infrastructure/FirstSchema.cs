using System.Data.Common;
using System.Globalization;
using Microsoft.EntityFrameworkCore;
using Microsoft.EntityFrameworkCore.Infrastructure;
using Microsoft.EntityFrameworkCore.Migrations;
using Rollcall.Storage;

namespace Rollcall.Tests.Infrastructure;

/// <summary>A database as the first version made and filled it: rows in every table, a value in every column of some of them.</summary>
internal static class FirstSchema
{
    /// <summary>The tables of that version.</summary>
    public static readonly IReadOnlyList<string> Tables =
    [
        "audit_entries",
        "changes",
        "data_protection_keys",
        "district_tenants",
        "districts",
        "installation_settings",
        "integrations",
        "operations",
        "patron_links",
        "patrons",
        "policies",
        "review_items",
        "site_defaults",
        "site_orgs",
        "sites",
    ];

    private const string Counted =
        "WITH RECURSIVE counted(n) AS (SELECT CAST(@first AS integer) UNION ALL SELECT n + 1 FROM counted WHERE n < @people)";

    // Both databases understand these words.
    private const string Patrons = $"""
        {Counted}
        INSERT INTO patrons (district_id, id, barcode, community_id, government_id, location, second_location, last_name, first_name,
            middle_name, level, phone, email, status, policy, sex, birthdate, graduation_date, additional_contact, other_emails, site_id,
            nickname, guid, "group", site_access, notes, expiration, stamps, do_not_transfer, kept_fields, barcode_key, email_key, name_key,
            search_key, created_at, updated_at, version)
        SELECT 1, n, CAST(10000000 + n AS text), 'N' || n, 'G' || n, 'Room ' || (n % 40), 'Hall', 'Sørensen' || n, 'Zoë', 'M.', '0' || (n % 9 + 1),
            '555 ' || n, 'p' || n || '@school.example', n % 6, 'STU', 'female', '2012-02-29', '2030-06-30', 'Aunt ' || n,
            'other' || n || '@home.example', n % 2 + 1, 'Zo', 'guid-' || n, 0, 'NORTH', 'a note ' || n, '2027-07-31', 'stamp', n % 7 = 0, '1100',
            CAST(10000000 + n AS text), 'p' || n || '@school.example', 'sorensen' || n || CAST(@separator AS text) || 'zoe' || CAST(@separator AS text) || 'm.',
            'sorensen' || n || ' zoe m. zo sorensen' || n || ', zoe | ' || CAST(10000000 + n AS text) || ' | n' || n || ' | p' || n || '@school.example',
            1700000003500 + n, 1700000003600 + n, n % 5
        FROM counted
        """;

    private static readonly string[] s_rows =
    [
        """
            INSERT INTO districts (id, code, name, time_zone, next_patron_id, created_at)
            VALUES (1, 'RIVER', 'Riverbend', 'Europe/Berlin', @people + 1, 1700000000123)
            """,
        "INSERT INTO district_tenants (tenant_id, district_id, allowed_at) VALUES ('9001', 1, 1700000000456)",
        "INSERT INTO installation_settings (key, value) VALUES ('first-version', 'kept')",
        "INSERT INTO data_protection_keys (friendly_name, xml) SELECT 'kept', '<kept/>' WHERE NOT EXISTS (SELECT 1 FROM data_protection_keys)",
        """
            INSERT INTO integrations (district_id, kind, enabled, settings, secret, state)
            VALUES (1, 1, TRUE,
                '{"mode":"direct","tenantId":"9001","url":"https://roster.example","key":"the-key","districtName":"Riverbend","roles":["student","teacher"]}',
                @secret, '{"configVersion":4,"lastFullAt":"2026-01-02T03:04:05Z"}')
            """,
        """
            INSERT INTO sites (district_id, id, code, name, guid, next_barcode, default_policy, default_group)
            VALUES (1, 1, 'NORTH', 'North School', 'org-1', '70000001', 'STU', 0), (1, 2, 'SOUTH', 'South School', NULL, '80000001', NULL, 1)
            """,
        "INSERT INTO site_defaults (district_id, site_id, role_group, next_barcode, policy, \"group\") VALUES (1, 1, 2, '71000001', 'FAC', 2)",
        "INSERT INTO site_orgs (district_id, kind, org_id, site_id, position, org_name, org_type) VALUES (1, 1, 'org-1', 1, 0, 'North', 'school')",
        "INSERT INTO policies (district_id, code, name) VALUES (1, 'STU', 'Students'), (1, 'FAC', 'Faculty')",
        """
            INSERT INTO audit_entries (district_id, at, actor, action, details)
            VALUES (1, 1700000001000, 'command line', 'connect', 'classlink, tenant 9001')
            """,
        """
            INSERT INTO operations (id, district_id, kind, integration, status, preview_only, requested_by, created_at, started_at, finished_at,
                lease_until, fence, node, stage, stage_text, done, total, options, counts, warnings, error, planned, plan_size, applied_to,
                held_applied_to, approved_by, approved_at, cancel_requested)
            VALUES
                (1, 1, 1, 1, 5, FALSE, 'Kim', 1700000002000, 1700000003000, 1700000004000, 0, 3, 'first:1', 4, NULL, @people, @people,
                    '{"tenantId":"9001","districtName":"Riverbend","mode":"Direct"}', @counts, '[{"code":"odd","message":"Something odd","count":2}]', NULL, TRUE, @people, @people, 0,
                    'Kim', 1700000003500, FALSE),
                (2, 1, 1, 1, 6, FALSE, 'command line', 1700000005000, 1700000006000, 1700000007000, 0, 1, 'first:2', 4, NULL, 0, 0,
                    '{}', '{}', '[]', 'The roster service did not answer.', FALSE, 0, 0, 0, NULL, NULL, TRUE),
                (3, 1, 1, 1, 2, FALSE, 'command line', 1700000008000, 1700000009000, 1700000010000, 0, 1, 'first:2', 4, NULL, 0, 0,
                    '{"tenantId":"9001","districtName":"Riverbend","mode":"Direct"}', '{"read":1,"updated":1,"held":1,"warnings":1}',
                    '[{"code":"held","message":"1 change is held","count":1}]', NULL, TRUE, 1, 1, 0, NULL, NULL, FALSE)
            """,
        Patrons,
        $"""
            {Counted}
            INSERT INTO patron_links (district_id, patron_id, aliases, role_group, username, guardians, homeroom_class, login_disabled, absent,
                status_before, sync_hash)
            SELECT 1, n, 'old-' || n, 1, 'user' || n, 'guardian-' || n, 'class-' || (n % 40), n % 11 = 0, n % 13 = 0, 0, -n FROM counted
            """,
        $$"""
            {{Counted}}
            INSERT INTO changes (district_id, operation_id, number, kind, outcome, patron_id, roster_id, site_id, role_group, matched_by, held,
                chained, risk, candidates, stale, "values", link, link_before, reason, warning)
            SELECT 1, 1, n, 1, 1, n, 'guid-' || n, n % 2 + 1, 1, 0, FALSE, FALSE, 3, NULL, FALSE, '{"1006":[null,"Sørensen' || n || '"]}',
                '{"roleGroup":"student","username":"user' || n || '"}', NULL, 'A reason', 'A warning'
            FROM counted
            """,
        """
            INSERT INTO changes (district_id, operation_id, number, kind, outcome, patron_id, roster_id, site_id, role_group, matched_by, held,
                chained, risk, candidates, stale, "values", link, link_before, reason, warning)
            VALUES (1, 3, 1, 2, 2, 5, 'guid-5', 2, 1, 1, TRUE, FALSE, 2, NULL, FALSE, '{"1006":["Sørensen5","Renamed"]}', NULL, NULL, NULL, NULL)
            """,
        """
            INSERT INTO review_items (district_id, id, roster_id, role_group, status, reason, "values", candidates, operation_id, created_at,
                decided_at, decided_by)
            VALUES (1, 1, 'guid-waiting', 1, 0, 'Two patrons have this Student #', '{}', '[1,2]', 1, 1700000003700, NULL, NULL),
                (1, 2, 'guid-decided', 1, 2, 'A name alike', '{}', '[3]', 1, 1700000003800, 1700000003900, 'Kim')
            """,
    ];

    /// <summary>Makes the tables of the first version in a database that has none.</summary>
    public static async Task MakeAsync(RollcallDatabase database, CancellationToken cancellationToken)
    {
        if (database.FilePath is { } file)
        {
            await File.WriteAllBytesAsync(file, [], cancellationToken);
            await using var opened = await database.OpenAsync(cancellationToken);
        }

        await using var context = database.CreateContext();
        await context
            .GetService<IMigrator>()
            .MigrateAsync(context.Database.GetMigrations().First(m => m.EndsWith("_Initial", StringComparison.Ordinal)), cancellationToken);
    }

    /// <summary>Fills them.</summary>
    /// <param name="database">Whose tables.</param>
    /// <param name="people">Patrons, with a link and a change each.</param>
    /// <param name="secret">What the roster service's secret is stored as; null for none.</param>
    /// <param name="cancellationToken">Gives up; nothing is filled.</param>
    public static async Task FillAsync(RollcallDatabase database, int people, string? secret, CancellationToken cancellationToken)
    {
        await using var connection = await database.OpenAsync(cancellationToken);
        await using var transaction = await connection.BeginTransactionAsync(cancellationToken);
        foreach (var rows in s_rows)
        {
            await using var command = connection.CreateCommand();
            command.Transaction = transaction;
            command.CommandTimeout = 0;
            command.CommandText = rows;
            Add(command, "@people", people);
            Add(command, "@first", 1);
            Add(command, "@secret", (object?)secret ?? DBNull.Value);
            Add(command, "@separator", "\u0001");
            Add(
                command,
                "@counts",
                string.Create(CultureInfo.InvariantCulture, $$"""{"read":{{people}},"created":{{people}},"warnings":2}""")
            );
            await command.ExecuteNonQueryAsync(cancellationToken);
        }

        if (database.IsPostgres)
        {
            // Numbers that were given by hand are behind those that the database gives.
            foreach (var table in (string[])["districts", "operations"])
            {
                await using var next = connection.CreateCommand();
                next.Transaction = transaction;
                next.CommandText = $"SELECT setval(pg_get_serial_sequence('{table}', 'id'), (SELECT max(id) FROM {table}))";
                await next.ExecuteScalarAsync(cancellationToken);
            }
        }

        await transaction.CommitAsync(cancellationToken);
    }

    /// <summary>A program of the first version adds a patron: it names no column that came since.</summary>
    public static async Task AddPatronAsync(RollcallDatabase database, int number, CancellationToken cancellationToken)
    {
        await using var connection = await database.OpenAsync(cancellationToken);
        foreach (var rows in (string[])[Patrons, "UPDATE districts SET next_patron_id = @people + 1 WHERE id = 1"])
        {
            await using var command = connection.CreateCommand();
            command.CommandText = rows;
            Add(command, "@people", number);
            Add(command, "@first", number);
            Add(command, "@separator", "\u0001");
            await command.ExecuteNonQueryAsync(cancellationToken);
        }
    }

    private static void Add(DbCommand command, string name, object value)
    {
        if (command.CommandText.Contains(name, StringComparison.Ordinal))
        {
            var parameter = command.CreateParameter();
            (parameter.ParameterName, parameter.Value) = (name, value);
            if (value is DBNull)
            {
                parameter.DbType = System.Data.DbType.String;
            }

            command.Parameters.Add(parameter);
        }
    }

    /// <summary>Every row of those tables, in the columns that they have now, as text.</summary>
    /// <param name="database">Whose.</param>
    /// <param name="columns">The columns of each table; null for all that there are.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public static async Task<(Dictionary<string, string[]> Columns, List<string> Rows)> ReadAsync(
        RollcallDatabase database,
        IReadOnlyDictionary<string, string[]>? columns,
        CancellationToken cancellationToken
    )
    {
        var all = new Dictionary<string, string[]>(StringComparer.Ordinal);
        var rows = new List<string>();
        await using var connection = await database.OpenAsync(cancellationToken);
        foreach (var table in Tables)
        {
            await using var command = connection.CreateCommand();
            command.CommandText = columns is null
                ? $"SELECT * FROM {table}"
                : $"SELECT {string.Join(", ", columns[table].Select(c => $"\"{c}\""))} FROM {table}";
            await using var reader = await command.ExecuteReaderAsync(cancellationToken);
            all[table] = [.. Enumerable.Range(0, reader.FieldCount).Select(reader.GetName)];
            var of = new List<string>();
            while (await reader.ReadAsync(cancellationToken))
            {
                of.Add(
                    $"{table}: {string.Join(" | ", all[table].Select((c, i) => $"{c}={Convert.ToString(reader.GetValue(i), CultureInfo.InvariantCulture)}"))}"
                );
            }

            of.Sort(StringComparer.Ordinal);
            rows.AddRange(of);
        }

        return (all, rows);
    }
}
