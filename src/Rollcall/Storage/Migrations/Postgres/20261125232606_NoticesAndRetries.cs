using Microsoft.EntityFrameworkCore.Migrations;
using Npgsql.EntityFrameworkCore.PostgreSQL.Metadata;

#nullable disable

namespace Rollcall.Storage.Migrations.Postgres
{
    /// <inheritdoc />
    public partial class NoticesAndRetries : Migration
    {
        /// <inheritdoc />
        protected override void Up(MigrationBuilder migrationBuilder)
        {
            migrationBuilder.AddColumn<int>(
                name: "attempts",
                table: "operations",
                type: "integer",
                nullable: false,
                defaultValue: 0);

            migrationBuilder.AddColumn<long>(
                name: "not_before",
                table: "operations",
                type: "bigint",
                nullable: true);

            migrationBuilder.AddColumn<bool>(
                name: "settled",
                table: "operations",
                type: "boolean",
                nullable: false,
                defaultValue: true);

            migrationBuilder.CreateTable(
                name: "notice_settings",
                columns: table => new
                {
                    district_id = table.Column<int>(type: "integer", nullable: false),
                    emails = table.Column<string>(type: "text", nullable: false, collation: "C"),
                    events = table.Column<int>(type: "integer", nullable: false),
                    webhook_url = table.Column<string>(type: "text", nullable: true, collation: "C"),
                    webhook_secret = table.Column<string>(type: "text", nullable: true, collation: "C")
                },
                constraints: table =>
                {
                    table.PrimaryKey("PK_notice_settings", x => x.district_id);
                });

            migrationBuilder.CreateTable(
                name: "notices",
                columns: table => new
                {
                    id = table.Column<long>(type: "bigint", nullable: false)
                        .Annotation("Npgsql:ValueGenerationStrategy", NpgsqlValueGenerationStrategy.IdentityByDefaultColumn),
                    district_id = table.Column<int>(type: "integer", nullable: false),
                    operation_id = table.Column<long>(type: "bigint", nullable: true),
                    channel = table.Column<int>(type: "integer", nullable: false),
                    target = table.Column<string>(type: "text", nullable: false, collation: "C"),
                    @event = table.Column<int>(name: "event", type: "integer", nullable: false),
                    subject = table.Column<string>(type: "text", nullable: false, collation: "C"),
                    body = table.Column<string>(type: "text", nullable: false, collation: "C"),
                    status = table.Column<int>(type: "integer", nullable: false),
                    attempts = table.Column<int>(type: "integer", nullable: false),
                    due_at = table.Column<long>(type: "bigint", nullable: false),
                    created_at = table.Column<long>(type: "bigint", nullable: false),
                    sent_at = table.Column<long>(type: "bigint", nullable: true),
                    error = table.Column<string>(type: "text", nullable: true, collation: "C")
                },
                constraints: table =>
                {
                    table.PrimaryKey("PK_notices", x => x.id);
                });

            migrationBuilder.CreateIndex(
                name: "ix_operations_unsettled",
                table: "operations",
                column: "finished_at",
                filter: "not settled");

            migrationBuilder.CreateIndex(
                name: "ix_notices_district_id_operation_id",
                table: "notices",
                columns: new[] { "district_id", "operation_id" });

            migrationBuilder.CreateIndex(
                name: "ix_notices_due_at",
                table: "notices",
                column: "due_at",
                filter: "status = 0");
        }

        /// <inheritdoc />
        protected override void Down(MigrationBuilder migrationBuilder)
        {
            migrationBuilder.DropTable(
                name: "notice_settings");

            migrationBuilder.DropTable(
                name: "notices");

            migrationBuilder.DropIndex(
                name: "ix_operations_unsettled",
                table: "operations");

            migrationBuilder.DropColumn(
                name: "attempts",
                table: "operations");

            migrationBuilder.DropColumn(
                name: "not_before",
                table: "operations");

            migrationBuilder.DropColumn(
                name: "settled",
                table: "operations");
        }
    }
}
