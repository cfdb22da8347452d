using Microsoft.EntityFrameworkCore.Migrations;
using Npgsql.EntityFrameworkCore.PostgreSQL.Metadata;

#nullable disable

namespace Rollcall.Storage.Migrations.Postgres
{
    /// <inheritdoc />
    public partial class Initial : Migration
    {
        /// <inheritdoc />
        protected override void Up(MigrationBuilder migrationBuilder)
        {
            migrationBuilder.CreateTable(
                name: "audit_entries",
                columns: table => new
                {
                    id = table.Column<long>(type: "bigint", nullable: false)
                        .Annotation("Npgsql:ValueGenerationStrategy", NpgsqlValueGenerationStrategy.IdentityByDefaultColumn),
                    district_id = table.Column<int>(type: "integer", nullable: false),
                    at = table.Column<long>(type: "bigint", nullable: false),
                    actor = table.Column<string>(type: "text", nullable: false, collation: "C"),
                    action = table.Column<string>(type: "text", nullable: false, collation: "C"),
                    details = table.Column<string>(type: "text", nullable: false, collation: "C")
                },
                constraints: table =>
                {
                    table.PrimaryKey("PK_audit_entries", x => x.id);
                });

            migrationBuilder.CreateTable(
                name: "changes",
                columns: table => new
                {
                    district_id = table.Column<int>(type: "integer", nullable: false),
                    operation_id = table.Column<long>(type: "bigint", nullable: false),
                    number = table.Column<long>(type: "bigint", nullable: false),
                    kind = table.Column<int>(type: "integer", nullable: false),
                    outcome = table.Column<int>(type: "integer", nullable: false),
                    patron_id = table.Column<long>(type: "bigint", nullable: true),
                    roster_id = table.Column<string>(type: "text", nullable: true, collation: "C"),
                    site_id = table.Column<int>(type: "integer", nullable: true),
                    role_group = table.Column<int>(type: "integer", nullable: false),
                    matched_by = table.Column<int>(type: "integer", nullable: false),
                    held = table.Column<bool>(type: "boolean", nullable: false),
                    chained = table.Column<bool>(type: "boolean", nullable: false),
                    risk = table.Column<int>(type: "integer", nullable: false),
                    candidates = table.Column<string>(type: "text", nullable: true, collation: "C"),
                    stale = table.Column<bool>(type: "boolean", nullable: false),
                    values = table.Column<string>(type: "text", nullable: false, collation: "C"),
                    link = table.Column<string>(type: "text", nullable: true, collation: "C"),
                    link_before = table.Column<string>(type: "text", nullable: true, collation: "C"),
                    reason = table.Column<string>(type: "text", nullable: true, collation: "C"),
                    warning = table.Column<string>(type: "text", nullable: true, collation: "C")
                },
                constraints: table =>
                {
                    table.PrimaryKey("PK_changes", x => new { x.district_id, x.operation_id, x.number });
                });

            migrationBuilder.CreateTable(
                name: "data_protection_keys",
                columns: table => new
                {
                    id = table.Column<int>(type: "integer", nullable: false)
                        .Annotation("Npgsql:ValueGenerationStrategy", NpgsqlValueGenerationStrategy.IdentityByDefaultColumn),
                    friendly_name = table.Column<string>(type: "text", nullable: true, collation: "C"),
                    xml = table.Column<string>(type: "text", nullable: true, collation: "C")
                },
                constraints: table =>
                {
                    table.PrimaryKey("PK_data_protection_keys", x => x.id);
                });

            migrationBuilder.CreateTable(
                name: "district_tenants",
                columns: table => new
                {
                    tenant_id = table.Column<string>(type: "text", nullable: false, collation: "C"),
                    district_id = table.Column<int>(type: "integer", nullable: false),
                    allowed_at = table.Column<long>(type: "bigint", nullable: false)
                },
                constraints: table =>
                {
                    table.PrimaryKey("PK_district_tenants", x => x.tenant_id);
                });

            migrationBuilder.CreateTable(
                name: "districts",
                columns: table => new
                {
                    id = table.Column<int>(type: "integer", nullable: false)
                        .Annotation("Npgsql:ValueGenerationStrategy", NpgsqlValueGenerationStrategy.IdentityByDefaultColumn),
                    code = table.Column<string>(type: "text", nullable: false, collation: "C"),
                    name = table.Column<string>(type: "text", nullable: false, collation: "C"),
                    time_zone = table.Column<string>(type: "text", nullable: false, collation: "C"),
                    next_patron_id = table.Column<long>(type: "bigint", nullable: false),
                    created_at = table.Column<long>(type: "bigint", nullable: false)
                },
                constraints: table =>
                {
                    table.PrimaryKey("PK_districts", x => x.id);
                });

            migrationBuilder.CreateTable(
                name: "installation_settings",
                columns: table => new
                {
                    key = table.Column<string>(type: "text", nullable: false, collation: "C"),
                    value = table.Column<string>(type: "text", nullable: false, collation: "C")
                },
                constraints: table =>
                {
                    table.PrimaryKey("PK_installation_settings", x => x.key);
                });

            migrationBuilder.CreateTable(
                name: "integrations",
                columns: table => new
                {
                    district_id = table.Column<int>(type: "integer", nullable: false),
                    kind = table.Column<int>(type: "integer", nullable: false),
                    enabled = table.Column<bool>(type: "boolean", nullable: false),
                    settings = table.Column<string>(type: "text", nullable: false, collation: "C"),
                    secret = table.Column<string>(type: "text", nullable: true, collation: "C"),
                    state = table.Column<string>(type: "text", nullable: false, collation: "C")
                },
                constraints: table =>
                {
                    table.PrimaryKey("PK_integrations", x => new { x.district_id, x.kind });
                });

            migrationBuilder.CreateTable(
                name: "operations",
                columns: table => new
                {
                    id = table.Column<long>(type: "bigint", nullable: false)
                        .Annotation("Npgsql:ValueGenerationStrategy", NpgsqlValueGenerationStrategy.IdentityByDefaultColumn),
                    district_id = table.Column<int>(type: "integer", nullable: false),
                    kind = table.Column<int>(type: "integer", nullable: false),
                    integration = table.Column<int>(type: "integer", nullable: true),
                    status = table.Column<int>(type: "integer", nullable: false),
                    preview_only = table.Column<bool>(type: "boolean", nullable: false),
                    requested_by = table.Column<string>(type: "text", nullable: false, collation: "C"),
                    created_at = table.Column<long>(type: "bigint", nullable: false),
                    started_at = table.Column<long>(type: "bigint", nullable: true),
                    finished_at = table.Column<long>(type: "bigint", nullable: true),
                    lease_until = table.Column<long>(type: "bigint", nullable: false),
                    fence = table.Column<long>(type: "bigint", nullable: false),
                    node = table.Column<string>(type: "text", nullable: true, collation: "C"),
                    stage = table.Column<int>(type: "integer", nullable: false),
                    stage_text = table.Column<string>(type: "text", nullable: true, collation: "C"),
                    done = table.Column<long>(type: "bigint", nullable: false),
                    total = table.Column<long>(type: "bigint", nullable: false),
                    options = table.Column<string>(type: "text", nullable: false, collation: "C"),
                    counts = table.Column<string>(type: "text", nullable: false, collation: "C"),
                    warnings = table.Column<string>(type: "text", nullable: false, collation: "C"),
                    error = table.Column<string>(type: "text", nullable: true, collation: "C"),
                    planned = table.Column<bool>(type: "boolean", nullable: false),
                    plan_size = table.Column<long>(type: "bigint", nullable: false),
                    applied_to = table.Column<long>(type: "bigint", nullable: false),
                    held_applied_to = table.Column<long>(type: "bigint", nullable: false),
                    approved_by = table.Column<string>(type: "text", nullable: true, collation: "C"),
                    approved_at = table.Column<long>(type: "bigint", nullable: true),
                    cancel_requested = table.Column<bool>(type: "boolean", nullable: false)
                },
                constraints: table =>
                {
                    table.PrimaryKey("PK_operations", x => x.id);
                });

            migrationBuilder.CreateTable(
                name: "patron_links",
                columns: table => new
                {
                    district_id = table.Column<int>(type: "integer", nullable: false),
                    patron_id = table.Column<long>(type: "bigint", nullable: false),
                    aliases = table.Column<string>(type: "text", nullable: true, collation: "C"),
                    role_group = table.Column<int>(type: "integer", nullable: false),
                    username = table.Column<string>(type: "text", nullable: true, collation: "C"),
                    guardians = table.Column<string>(type: "text", nullable: true, collation: "C"),
                    homeroom_class = table.Column<string>(type: "text", nullable: true, collation: "C"),
                    login_disabled = table.Column<bool>(type: "boolean", nullable: false),
                    absent = table.Column<bool>(type: "boolean", nullable: false),
                    status_before = table.Column<int>(type: "integer", nullable: true),
                    sync_hash = table.Column<long>(type: "bigint", nullable: false)
                },
                constraints: table =>
                {
                    table.PrimaryKey("PK_patron_links", x => new { x.district_id, x.patron_id });
                });

            migrationBuilder.CreateTable(
                name: "patrons",
                columns: table => new
                {
                    district_id = table.Column<int>(type: "integer", nullable: false),
                    id = table.Column<long>(type: "bigint", nullable: false),
                    barcode = table.Column<string>(type: "text", nullable: false, collation: "C"),
                    community_id = table.Column<string>(type: "text", nullable: true, collation: "C"),
                    government_id = table.Column<string>(type: "text", nullable: true, collation: "C"),
                    location = table.Column<string>(type: "text", nullable: true, collation: "C"),
                    second_location = table.Column<string>(type: "text", nullable: true, collation: "C"),
                    last_name = table.Column<string>(type: "text", nullable: false, collation: "C"),
                    first_name = table.Column<string>(type: "text", nullable: true, collation: "C"),
                    middle_name = table.Column<string>(type: "text", nullable: true, collation: "C"),
                    level = table.Column<string>(type: "text", nullable: true, collation: "C"),
                    phone = table.Column<string>(type: "text", nullable: true, collation: "C"),
                    email = table.Column<string>(type: "text", nullable: true, collation: "C"),
                    status = table.Column<int>(type: "integer", nullable: false),
                    policy = table.Column<string>(type: "text", nullable: true, collation: "C"),
                    sex = table.Column<string>(type: "text", nullable: true, collation: "C"),
                    birthdate = table.Column<string>(type: "text", nullable: true, collation: "C"),
                    graduation_date = table.Column<string>(type: "text", nullable: true, collation: "C"),
                    additional_contact = table.Column<string>(type: "text", nullable: true, collation: "C"),
                    other_emails = table.Column<string>(type: "text", nullable: true, collation: "C"),
                    site_id = table.Column<int>(type: "integer", nullable: true),
                    nickname = table.Column<string>(type: "text", nullable: true, collation: "C"),
                    guid = table.Column<string>(type: "text", nullable: true, collation: "C"),
                    group = table.Column<int>(type: "integer", nullable: false),
                    site_access = table.Column<string>(type: "text", nullable: true, collation: "C"),
                    notes = table.Column<string>(type: "text", nullable: true, collation: "C"),
                    expiration = table.Column<string>(type: "text", nullable: true, collation: "C"),
                    stamps = table.Column<string>(type: "text", nullable: true, collation: "C"),
                    do_not_transfer = table.Column<bool>(type: "boolean", nullable: false),
                    kept_fields = table.Column<string>(type: "text", nullable: true, collation: "C"),
                    barcode_key = table.Column<string>(type: "text", nullable: false, collation: "C"),
                    email_key = table.Column<string>(type: "text", nullable: true, collation: "C"),
                    name_key = table.Column<string>(type: "text", nullable: false, collation: "C"),
                    search_key = table.Column<string>(type: "text", nullable: false, collation: "C"),
                    created_at = table.Column<long>(type: "bigint", nullable: false),
                    updated_at = table.Column<long>(type: "bigint", nullable: false),
                    version = table.Column<long>(type: "bigint", nullable: false)
                },
                constraints: table =>
                {
                    table.PrimaryKey("PK_patrons", x => new { x.district_id, x.id });
                });

            migrationBuilder.CreateTable(
                name: "policies",
                columns: table => new
                {
                    district_id = table.Column<int>(type: "integer", nullable: false),
                    code = table.Column<string>(type: "text", nullable: false, collation: "C"),
                    name = table.Column<string>(type: "text", nullable: false, collation: "C")
                },
                constraints: table =>
                {
                    table.PrimaryKey("PK_policies", x => new { x.district_id, x.code });
                });

            migrationBuilder.CreateTable(
                name: "review_items",
                columns: table => new
                {
                    district_id = table.Column<int>(type: "integer", nullable: false),
                    id = table.Column<int>(type: "integer", nullable: false),
                    roster_id = table.Column<string>(type: "text", nullable: false, collation: "C"),
                    role_group = table.Column<int>(type: "integer", nullable: false),
                    status = table.Column<int>(type: "integer", nullable: false),
                    reason = table.Column<string>(type: "text", nullable: false, collation: "C"),
                    values = table.Column<string>(type: "text", nullable: false, collation: "C"),
                    candidates = table.Column<string>(type: "text", nullable: false, collation: "C"),
                    operation_id = table.Column<long>(type: "bigint", nullable: false),
                    created_at = table.Column<long>(type: "bigint", nullable: false),
                    decided_at = table.Column<long>(type: "bigint", nullable: true),
                    decided_by = table.Column<string>(type: "text", nullable: true, collation: "C")
                },
                constraints: table =>
                {
                    table.PrimaryKey("PK_review_items", x => new { x.district_id, x.id });
                });

            migrationBuilder.CreateTable(
                name: "site_defaults",
                columns: table => new
                {
                    district_id = table.Column<int>(type: "integer", nullable: false),
                    site_id = table.Column<int>(type: "integer", nullable: false),
                    role_group = table.Column<int>(type: "integer", nullable: false),
                    next_barcode = table.Column<string>(type: "text", nullable: true, collation: "C"),
                    policy = table.Column<string>(type: "text", nullable: true, collation: "C"),
                    group = table.Column<int>(type: "integer", nullable: true)
                },
                constraints: table =>
                {
                    table.PrimaryKey("PK_site_defaults", x => new { x.district_id, x.site_id, x.role_group });
                });

            migrationBuilder.CreateTable(
                name: "site_orgs",
                columns: table => new
                {
                    district_id = table.Column<int>(type: "integer", nullable: false),
                    kind = table.Column<int>(type: "integer", nullable: false),
                    org_id = table.Column<string>(type: "text", nullable: false, collation: "C"),
                    site_id = table.Column<int>(type: "integer", nullable: false),
                    position = table.Column<int>(type: "integer", nullable: false),
                    org_name = table.Column<string>(type: "text", nullable: true, collation: "C"),
                    org_type = table.Column<string>(type: "text", nullable: true, collation: "C")
                },
                constraints: table =>
                {
                    table.PrimaryKey("PK_site_orgs", x => new { x.district_id, x.kind, x.org_id });
                });

            migrationBuilder.CreateTable(
                name: "sites",
                columns: table => new
                {
                    district_id = table.Column<int>(type: "integer", nullable: false),
                    id = table.Column<int>(type: "integer", nullable: false),
                    code = table.Column<string>(type: "text", nullable: false, collation: "C"),
                    name = table.Column<string>(type: "text", nullable: false, collation: "C"),
                    guid = table.Column<string>(type: "text", nullable: true, collation: "C"),
                    next_barcode = table.Column<string>(type: "text", nullable: false, collation: "C"),
                    default_policy = table.Column<string>(type: "text", nullable: true, collation: "C"),
                    default_group = table.Column<int>(type: "integer", nullable: false)
                },
                constraints: table =>
                {
                    table.PrimaryKey("PK_sites", x => new { x.district_id, x.id });
                });

            migrationBuilder.CreateIndex(
                name: "ix_audit_entries_district_id_id",
                table: "audit_entries",
                columns: new[] { "district_id", "id" });

            migrationBuilder.CreateIndex(
                name: "ix_changes_district_id_patron_id_operation_id_number",
                table: "changes",
                columns: new[] { "district_id", "patron_id", "operation_id", "number" });

            migrationBuilder.CreateIndex(
                name: "ix_district_tenants_district_id",
                table: "district_tenants",
                column: "district_id");

            migrationBuilder.CreateIndex(
                name: "ix_districts_code",
                table: "districts",
                column: "code",
                unique: true);

            migrationBuilder.CreateIndex(
                name: "ix_operations_district_id_id",
                table: "operations",
                columns: new[] { "district_id", "id" });

            migrationBuilder.CreateIndex(
                name: "ix_operations_running",
                table: "operations",
                column: "district_id",
                unique: true,
                filter: "status = 1");

            migrationBuilder.CreateIndex(
                name: "ix_operations_status",
                table: "operations",
                column: "status");

            migrationBuilder.CreateIndex(
                name: "ix_patrons_district_id_barcode_key",
                table: "patrons",
                columns: new[] { "district_id", "barcode_key" },
                unique: true);

            migrationBuilder.CreateIndex(
                name: "ix_patrons_district_id_guid",
                table: "patrons",
                columns: new[] { "district_id", "guid" },
                unique: true,
                filter: "guid is not null");

            migrationBuilder.CreateIndex(
                name: "ix_patrons_district_id_name_key_id",
                table: "patrons",
                columns: new[] { "district_id", "name_key", "id" });

            migrationBuilder.CreateIndex(
                name: "ix_patrons_district_id_site_id_status",
                table: "patrons",
                columns: new[] { "district_id", "site_id", "status" });

            migrationBuilder.CreateIndex(
                name: "ix_review_items_district_id_roster_id",
                table: "review_items",
                columns: new[] { "district_id", "roster_id" },
                unique: true);

            migrationBuilder.CreateIndex(
                name: "ix_sites_district_id_code",
                table: "sites",
                columns: new[] { "district_id", "code" },
                unique: true);
        }

        /// <inheritdoc />
        protected override void Down(MigrationBuilder migrationBuilder)
        {
            migrationBuilder.DropTable(
                name: "audit_entries");

            migrationBuilder.DropTable(
                name: "changes");

            migrationBuilder.DropTable(
                name: "data_protection_keys");

            migrationBuilder.DropTable(
                name: "district_tenants");

            migrationBuilder.DropTable(
                name: "districts");

            migrationBuilder.DropTable(
                name: "installation_settings");

            migrationBuilder.DropTable(
                name: "integrations");

            migrationBuilder.DropTable(
                name: "operations");

            migrationBuilder.DropTable(
                name: "patron_links");

            migrationBuilder.DropTable(
                name: "patrons");

            migrationBuilder.DropTable(
                name: "policies");

            migrationBuilder.DropTable(
                name: "review_items");

            migrationBuilder.DropTable(
                name: "site_defaults");

            migrationBuilder.DropTable(
                name: "site_orgs");

            migrationBuilder.DropTable(
                name: "sites");
        }
    }
}
